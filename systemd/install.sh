#!/bin/sh
# Puts the Niutang station on this machine, brings it up to date, takes it away.  Asks no network for anything.
# README.md, "The field bundle", says what each step does and what a power cut in it leaves behind.
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset PYTHONPATH PYTHONHOME CDPATH  # what a user set for his own programs

usage() {
    cat <<'END'
install.sh [install] [--recipe NAME | --config DIR]   install, or upgrade what is installed
install.sh rollback                                   go back to the version before
install.sh resume                                     clear up what a power cut left (done at boot by itself)
install.sh uninstall [--purge-data]                   take it away; data and configuration stay unless told otherwise
  --from DIR       the unpacked bundle, where it is not the folder of this file
  --lang zh|en     language of what is said, and of a recipe
  --without sm4    install without ciphers, where the operating system lacks what they need
  --python FILE    the Python to use (/usr/bin/python3)
  --root DIR       a system that is mounted there and does not run
  --services FILE  called with start, start-offline, stop or pid, where systemd does not run
END
}

# -- what is said

say() { case $language in zh) printf '%s\n' "$2" ;; *) printf '%s\n' "$1" ;; esac; }

die() {
    { printf 'install.sh: '; say "$1" "$2"; } >&2
    exit 1
}

# Everything before it is on the disk.  The tests cut the power at the step that NIUTANG_CUT names, and spare the disk.
synced() { [ -n "${NIUTANG_CUT+tested}" ] || sync; }

step() {
    synced
    [ "${NIUTANG_CUT:-}" != "$1" ] || kill -9 $$
}

# -- the bundle

field() { sed -n "s/^$1 //p" "$from/MANIFEST"; }

verify() {
    [ -f "$from/MANIFEST" ] ||
        die "$from is no bundle: it has no MANIFEST; unpack the tar and start the install.sh in it, or name it by --from" \
            "$from 不是安装包：没有 MANIFEST。请先解开 tar 包，运行其中的 install.sh，或用 --from 指明位置"
    signers=$conf/allowed_signers
    if [ -f "$signers" ]; then
        [ -f "$from/MANIFEST.sig" ] ||
            die "the bundle is not signed, and $signers says that it has to be; nothing was changed" \
                "安装包没有签名，而 $signers 要求签名；未作任何改动"
        ssh-keygen -Y verify -f "$signers" -I release -n niutang-station -s "$from/MANIFEST.sig" \
            <"$from/MANIFEST" >/dev/null 2>&1 ||
            die "the bundle's signature is by none of the keys in $signers, or it was changed since; nothing was changed" \
                "安装包的签名不属于 $signers 中的任何密钥，或签名后被改动；未作任何改动"
    fi
    if [ "$(field end)" != "$(sed '$d' "$from/MANIFEST" | sha256sum | cut -d' ' -f1)" ]; then
        damaged MANIFEST
    fi
    bad=$(field file | sed 's/ /  /' | (cd "$from" && LC_ALL=C sha256sum --check --quiet 2>/dev/null) | head -n 1) || true
    [ -z "$bad" ] || damaged "${bad%%: *}"
    strange=$({ printf '%s\n' MANIFEST MANIFEST.sig; field file | cut -d' ' -f2-; echo; (cd "$from" && find . ! -type d); } |
        awk '/^$/ { listed = 1; next } !listed { known["./" $0]; next } !($0 in known) { print substr($0, 3) }' | head -n 1)
    [ -z "$strange" ] ||
        die "$strange is in the bundle and not in its MANIFEST; unpack the tar anew, nothing was changed" \
            "安装包里的 $strange 不在 MANIFEST 中；请重新解包，未作任何改动"
    version=$(field niutang-station)
    new=$version-$(field end | cut -c1-8)
}

damaged() {
    die "$1 is not as it was packed (its SHA-256 differs); copy the bundle again, nothing was changed" \
        "$1 与打包时不一致（SHA-256 不符）；请重新拷贝安装包，未作任何改动"
}

# The machine is that of Python: a 64-bit kernel runs 32-bit systems too, and uname tells of the kernel alone.
fits() {
    [ -x "$python" ] ||
        die "$python is not there; the station needs Python $(field python) of the operating system" \
            "没有 $python；本站需要操作系统自带的 Python $(field python)"
    found=$("$python" -I -c 'import platform, struct, sys
machine = platform.machine()
if struct.calcsize("P") == 4 and machine in ("aarch64", "armv8l"): machine = "armv7l"
print(machine, "%d.%d" % sys.version_info[:2])')
    [ "${found% *}" = "$(field machine)" ] ||
        die "this bundle is for $(field machine) and this machine is ${found% *}; take the other bundle, nothing was changed" \
            "此安装包用于 $(field machine)，本机是 ${found% *}；请换用对应的安装包，未作任何改动"
    case " $(field python) " in
        *" ${found#* } "*) ;;
        *) die "this bundle has libraries for Python $(field python) and this machine has ${found#* }; nothing was changed" \
            "此安装包适用于 Python $(field python)，本机是 ${found#* }；未作任何改动" ;;
    esac
    [ "$without" = sm4 ] || field system | while read -r name module package; do
        "$python" -I -c "import $module" 2>/dev/null ||
            die "$name is not for this machine in the bundle and not in the operating system: install $package (apt, or its .deb with dpkg -i), or go without ciphers: --without sm4" \
                "安装包没有本机可用的 $name，操作系统也没有：请安装 $package（apt，或用 dpkg -i 安装 .deb），或用 --without sm4 不装加密"
    done
}

room() {  # MiB that are needed, a folder, what for
    free=$(df -Pk "$2" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$1" ] ||
        die "$2 has $free MiB free and $1 are needed ($3); nothing was changed" "$2 剩余 $free MiB，需要 $1 MiB；未作任何改动"
}

writable() {
    if [ -z "$root" ] && [ "$(findmnt -n -o FSTYPE / 2>/dev/null)" = overlay ] && [ -d /media/root-ro ]; then
        die "the root is an overlay in memory: what is installed now is gone after the next start; switch it off first (raspi-config nonint disable_overlayfs, then restart)" \
            "根文件系统是内存叠加层，现在安装的内容重启即失；请先关闭（raspi-config nonint disable_overlayfs 后重启）"
    fi
    for folder in "$root/etc" "$root/opt"; do
        { mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; } ||
            die "$folder cannot be written; make the root writable first: mount -o remount,rw /" \
                "$folder 不可写；请先执行 mount -o remount,rw /"
    done
}

# -- the program

whole() { [ -e "$opt/$1/bundle/complete" ]; }

build() {
    if whole "$new"; then return; fi
    say "the program: $opt/$new" "安装程序：$opt/$new"
    rm -rf "${opt:?}/$new"
    "$python" -I -m venv --without-pip --system-site-packages "$opt/$new"
    mkdir "$opt/$new/bundle"
    cp -R "$from/MANIFEST" "$from/install.sh" "$from/systemd" "$from/sbom.json" "$opt/$new/bundle/"
    awk -v without="$without" '/^[^ ]/ { drop = without == "sm4" && /^(cryptography|cffi|pycparser)==/ } !drop' \
        "$from/requirements.txt" >"$opt/$new/bundle/requirements.txt"
    step venv
    for pip in "$from"/wheels/pip-*.whl; do
        env -i PATH="$PATH" LC_ALL=C.UTF-8 PIP_CONFIG_FILE=/dev/null "$opt/$new/bin/python" -I "$pip/pip" install \
            --quiet --no-index --find-links "$from/wheels" --require-hashes --no-deps --ignore-installed --no-cache-dir \
            --only-binary :all: --no-warn-script-location --root-user-action ignore --disable-pip-version-check \
            -r "$opt/$new/bundle/requirements.txt" >&2 || {
            rm -rf "${opt:?}/$new"
            die "the libraries could not be installed, see above; the station runs on as it was" "程序库安装失败，见上；本站照旧运行"
        }
    done
    step libraries
    "$opt/$new/bin/station" --version >/dev/null || {
        rm -rf "${opt:?}/$new"
        die "the new program does not start, see above; the station runs on as it was" "新程序无法启动，见上；本站照旧运行"
    }
    synced
    : >"$opt/$new/bundle/complete"
    step program
}

# What the program $1 says of itself and of the configuration $2, a line each.
facts() {
    "$opt/$1/bin/python" -I -m station.facts ${2:+"$2"} ${2:+"${root:-/}"}
}

fact() { printf '%s\n' "$known" | sed -n "s/^$1 //p"; }

installed() { if [ -L "$link" ]; then basename "$(readlink "$link")"; fi; }

point_to() {
    rm -f "$link.part"
    ln -s "$1" "$link.part"
    mv -T "$link.part" "$link"
}

# -- the configuration

owned() { [ "$(id -u)" != 0 ] || chown -R root:root "$1"; }

prepare_config() {
    part=$conf.part
    rm -rf "$part"
    mkdir -p "$part/secrets"
    [ ! -d "$conf" ] || cp -a "$conf/." "$part/"
    if [ -n "$recipe" ]; then
        rm -f "$part/station.toml"
        LANG=$language.UTF-8 "$opt/$new/bin/station" init --lang "$language" --recipe "$recipe" --output "$part" >/dev/null ||
            die "no configuration was written, see above; nothing of the station was changed" "未写配置，见上；未改动本站"
    else
        cp -R "$config/." "$part/"
    fi
    find "$part" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
    sed -i 's|^data_folder = "[^"]*"|data_folder = "/var/lib/niutang-station"|' "$part/station.toml"
    known=$(facts "$new" "$part/station.toml") ||
        die "the configuration is not usable, see above; nothing of the station was changed" "配置不可用，见上；未改动本站"
    for name in $(fact credentials); do
        if [ -n "$recipe" ] && [ -f "$part/secrets/$name" ]; then
            rm -f "$part/$name"  # a placeholder takes no password's place
        elif [ -f "$part/$name" ]; then
            mv "$part/$name" "$part/secrets/$name"
        fi
    done
    chmod 700 "$part/secrets"
    find "$part/secrets" -type f -exec chmod 600 {} +
    owned "$part"
    good=yes
    said=$("$opt/$new/bin/station" check --lang "$language" "$part/station.toml" 2>&1) || good=
    [ -z "$said" ] || printf '%s\n' "$said" | sed "s|$part|$conf|g"
    [ -n "$good" ] ||
        die "the configuration has faults, see above; nothing of the station was changed" "配置有错误，见上；未改动本站"
    if [ -d "$conf" ] && diff -r "$conf" "$part" >/dev/null; then
        rm -rf "$part"
    elif [ -n "$recipe" ] && [ -e "$conf/station.toml" ]; then
        rm -rf "$part"
        die "$conf/station.toml is there already and is not the recipe: leave --recipe away, or move the folder away" \
            "$conf/station.toml 已存在且与模板不同：请去掉 --recipe，或先移走该目录"
    else
        mv "$part" "$conf.new"
        step config-ready
        place_config
    fi
}

# A folder with station.toml in it is whole: it was checked before it got that name.
place_config() {
    if [ -d "$conf.new" ]; then
        if [ -d "$conf" ]; then
            kept=$conf.before-$(date -u +%Y%m%dT%H%M%SZ)
            mv "$conf" "$kept"
            say "the former configuration is kept: $kept" "原配置保留在 $kept"
            step config-moved
        fi
        mv "$conf.new" "$conf"
        step config
    fi
}

# -- what systemd is told

units_of() { (cd "$opt/$1/bundle/systemd" && ls -- *.service *.timer *.socket 2>/dev/null) || true; }

place() {  # file, folder
    mkdir -p "$2"
    cp "$1" "$2/.niutang.part"
    chmod 644 "$2/.niutang.part"
    mv "$2/.niutang.part" "$2/$(basename "$1")"
}

# The files of version $1 take the place of those of version $2.
place_units() {
    source=$opt/$1/bundle/systemd
    for unit in $(units_of "$1"); do place "$source/$unit" "$units"; done
    if [ -n "$2" ] && [ -d "$opt/$2" ]; then
        for unit in $(units_of "$2"); do
            [ -e "$source/$unit" ] || { control disable "$unit"; rm -f "$units/$unit"; }
        done
    fi
    for kind in sysusers.d tmpfiles.d; do
        for file in "$source/$kind"/*.conf; do
            [ ! -f "$file" ] || place "$file" "$root/etc/$kind"
        done
    done
    for file in "$source"/udev/*.rules; do  # holds the serial numbers of this station's adapters, once somebody put them in
        [ -e "$root/etc/udev/rules.d/$(basename "$file")" ] || place "$file" "$root/etc/udev/rules.d"
    done
}

# Passwords are root's; systemd hands them over.  Outputs go off whatever ended the station.
place_drop_ins() {
    folder=$units/station.service.d
    mkdir -p "$folder"
    {
        echo "# Written by install.sh from station.toml: the passwords it names."
        echo "[Service]"
        for name in $(fact credentials); do
            [ ! -f "$conf/secrets/$name" ] || echo "LoadCredential=$name:/etc/niutang-station/secrets/$name"
        done
    } >"$folder/.niutang.part"
    mv "$folder/.niutang.part" "$folder/credentials.conf"
    if [ -n "$(fact outputs)" ]; then
        place "$opt/$new/bundle/systemd/station.service.d/pins.conf" "$folder"
    fi
}

# systemctl, on a system that does not run as well.
control() {
    if [ "$managed" = systemd ]; then
        systemctl --quiet "$@"
    else
        systemctl --quiet --root="${root:-/}" "$@" 2>/dev/null
    fi || true
}

wanted() {
    for unit in station.service station-resume.service clock-helper.socket page.service backup.timer; do
        [ -e "$units/$unit" ] || continue
        [ "$unit" != backup.timer ] || [ -n "$(fact copies)" ] || continue
        echo "$unit"
    done
}

account() {
    systemd-sysusers ${root:+--root="$root"} "$root/etc/sysusers.d/niutang-station.conf" ||
        die "the account station could not be made, see above" "无法建立账户 station，见上"
    [ -n "$root" ] || install -d -m 0750 -o station -g station /var/lib/niutang-station
    for file in "$root"/etc/tmpfiles.d/niutang*.conf; do
        [ ! -f "$file" ] || systemd-tmpfiles ${root:+--root="$root"} --create "$file" || true
    done
    if [ "$managed" = systemd ]; then
        udevadm control --reload 2>/dev/null || true
        udevadm trigger --action=add --subsystem-match=tty --subsystem-match=usb-serial 2>/dev/null || true
    fi
}

# -- running it

trial=/run/systemd/system/station.service.d/trial.conf  # in memory: a restart of the machine forgets it

# start, start-offline (nothing leaves the machine), stop, pid (0: it does not run)
services() {
    case $managed in
        program) "$program" "$@" 9>&- ;;
        systemd)
            case $1 in
                start-offline) mkdir -p "$(dirname "$trial")"; printf '[Service]\nPrivateNetwork=yes\n' >"$trial" ;;
                start | stop) rm -f "$trial" ;;
            esac
            case $1 in
                stop) systemctl stop station.service page.service clock-helper.service backup.service 2>/dev/null || true ;;
                pid) systemctl show --property=MainPID --value station.service ;;
                *)
                    systemctl daemon-reload
                    systemctl restart station.service || return 1
                    if [ -e "$units/page.service" ]; then systemctl restart page.service || true; fi ;;
            esac ;;
    esac
}

health() { "$link/bin/station" health --config "$conf/station.toml" --json 2>/dev/null; }

# 0 well, 1 complains, else it does not run
health_code() {
    code=0
    health >/dev/null || code=$?
    echo "$code"
}

# It is well when it said so twice, in the same process.  What was amiss before the upgrade may be amiss after it.
healthy() {
    pid=$(services pid)
    [ "$pid" != 0 ] || return 1
    first=
    waited=0
    while [ "$waited" -lt "$patience" ]; do
        [ "$(services pid)" = "$pid" ] || return 1
        code=0
        said=$(health) || code=$?
        if [ "$code" = 0 ] || { [ "$code" = 1 ] && [ "$former" != 0 ]; }; then
            mark=$(printf '%s' "$said" | sed -n 's/.*"monotonic": \([0-9.]*\).*/\1/p')
            if [ -n "$first" ] && [ "$mark" != "$first" ]; then return 0; fi
            first=${first:-$mark}
        fi
        sleep "$pause"
        waited=$((waited + 1))
    done
    return 1
}

# -- the upgrade

remember() {
    cat >"$state.part" <<END
step=$1
old=$old
new=$new
migrates=$migrates
database=$database
aside=$aside
former=$former
END
    synced
    mv "$state.part" "$state"
    step "$1"
}

recall() { sed -n "s/^$1=//p" "$state"; }

# The database as it was, in one file that was read back; the station stands still.
copy_database() {
    rm -f "$copy.part"
    "$opt/$old/bin/python" -I - "$database" "$copy.part" <<'END' || return 1
import os, pathlib, sqlite3, sys
source = sqlite3.connect(pathlib.Path(sys.argv[1]).as_uri() + "?mode=ro", uri=True)  # leaves its log alone
target = sqlite3.connect(sys.argv[2])
source.backup(target)
if target.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
    sys.exit("the copy of the database is not sound")
target.close()
held = os.stat(sys.argv[1])
os.chmod(sys.argv[2], held.st_mode & 0o777)
os.chown(sys.argv[2], held.st_uid, held.st_gid)
END
    synced
    mv "$copy.part" "$copy"
}

schema() { "$opt/$1/bin/python" -I -m station.facts | sed -n 's/^schema //p'; }

# Back to where the upgrade began.  Can be cut and begun again anywhere.
undo() {
    old=$(recall old)
    new=$(recall new)
    migrates=$(recall migrates)
    database=$(recall database)
    former=$(recall former)
    aside=$(recall aside)
    copy=$database.before-$new
    if [ "$migrates" = yes ] && [ -e "$copy" ]; then
        if [ -e "$database" ] && [ "$(schema_of "$database")" = "$(schema "$old")" ]; then
            rm -f "$copy"  # the new program never came to touch it
        else
            for end in "" -wal -shm .open; do  # with what says that it was not closed in order
                [ ! -e "$database$end" ] || mv "$database$end" "$aside$end"
                step "undo$end"
            done
            mv "$copy" "$database"
            step undo-database
            say "what was measured while the new program was tried is kept: $aside (it was sent nowhere)" \
                "试运行新程序期间的数据保留在 $aside（未曾上传）"
        fi
    fi
    rm -f "$copy.part"
    place_units "$old" "$new"
    point_to "$old"
    step undo-program
    [ "$managed" != systemd ] || systemctl daemon-reload
    rm -f "$state"
}

schema_of() {
    "$opt/$old/bin/python" -I -c 'import pathlib, sys; from station.facts import schema_of; print(schema_of(pathlib.Path(sys.argv[1])))' "$1"
}

finish() {
    place "$opt/$new/bundle/install.sh" "$opt"
    chmod 755 "$opt/install.sh"
    if [ -n "$old" ]; then  # this version and the one before stay, and so does what was measured under a version that failed
        echo "$old" >"$opt/before"
        for folder in "$opt"/*/; do
            name=$(basename "$folder")
            case $name in "$new" | "$old" | venv) ;; *) rm -rf "${opt:?}/$name" ;; esac
        done
        for file in "$database".before-*; do
            [ "$file" = "$database.before-$new" ] || rm -f "$file"
        done
    fi
    rm -f "$state"
    step finished
}

# Started by station-resume.service before the station is, or by a person.
resume() {
    place_config
    [ -f "$state" ] || return 0
    if [ "$(recall step)" = committed ]; then
        old=$(recall old) current=$new
        new=$(recall new)
        database=$(recall database)
        finish
        new=$current
        return
    fi
    say "an upgrade was cut short: back to $(recall old)" "上次升级被中断：恢复到 $(recall old)"
    if [ -n "${INVOCATION_ID:-}" ]; then
        undo
        return
    fi
    stands_still
    services stop
    current=$new
    undo
    new=$current
    services start || true
}

stands_still() {
    if [ "$managed" = hand ] && [ "$(health_code)" -le 1 ]; then
        die "the station runs, and not under systemd: stop it first" "本站正在运行，且不由 systemd 管理：请先停止"
    fi
}

upgrade() {
    old=$(installed)
    [ -z "$config$recipe" ] ||
        die "upgrade first and change the configuration after that: start install.sh without --config and --recipe" \
            "请先升级，再更换配置：运行 install.sh 时不要带 --config 和 --recipe"
    known=$(facts "$new" "$conf/station.toml") ||
        die "the new program cannot read the configuration or the database, see above; the station runs on as it was" \
            "新程序无法读取配置或数据库，见上；本站照旧运行"
    "$opt/$new/bin/station" check --lang "$language" "$conf/station.toml" ||
        die "the new program finds faults in the configuration, see above; the station runs on as it was" "新程序认为配置有错误，见上；本站照旧运行"
    database=$(fact database)
    copy=$database.before-$new
    migrates=no
    has=$(fact database_schema)
    if [ -n "$has" ] && [ "$has" != "$(fact schema)" ]; then
        case " $(fact migrates) " in
            *" $has "*) migrates=yes ;;
            *) die "the database has schema $has and version $version knows $(fact schema): it cannot be taken there; the station runs on as it was" \
                "数据库结构为 $has，版本 $version 使用 $(fact schema)，无法转换；本站照旧运行" ;;
        esac
        room "$(($(du -k "$database" | cut -f1) * 11 / 10240 + 16))" "$(dirname "$database")" "a copy of the database"
    fi
    ciphers
    former=$(health_code)
    stands_still
    aside=$database.tried-$new-$(date -u +%Y%m%dT%H%M%SZ)
    say "from $old to $new" "从 $old 升级到 $new"
    remember prepared
    services stop
    remember stopped
    if [ "$migrates" = yes ]; then
        copy_database || { back "the database could not be copied" "数据库无法复制"; }
        remember copied
    fi
    place_units "$new" "$old"
    place_drop_ins
    point_to "$new"
    remember switched
    [ "$managed" = hand ] || try
    remember committed
    if [ "$migrates" = yes ] && [ "$managed" != hand ]; then
        services stop
        if ! { services start && healthy; }; then
            amiss=yes
        fi
    fi
    finish
}

# Does the new program do?  After a migration nothing leaves the machine until that is known: the way back is the copy.
try() {
    remember trial
    rm -f "$root/run/niutang-station/health.json"
    begin=start
    if [ "$migrates" = yes ]; then
        begin=start-offline
        [ -z "$(fact networked)" ] || former=1  # instruments behind a network cannot answer then, and that is a complaint
    fi
    if services $begin && healthy; then
        return
    fi
    back "version $version does not run well" "版本 $version 运行不正常"
}

back() {
    say "$1: back to $old" "$2：恢复到 $old"
    services stop
    undo
    former=1
    if services start && healthy; then
        die "$1; the station runs on with $old" "$2；本站以 $old 继续运行"
    fi
    die "$1, and $old is not well either: journalctl -u station" "$2，$old 也不正常：请看 journalctl -u station"
}

ciphers() {
    if [ "$without" = sm4 ] && [ -n "$(fact ciphered)" ]; then
        die "a platform of this configuration is ciphered (key_file): --without sm4 cannot be" "配置中有加密的平台（key_file），不能用 --without sm4"
    fi
    if [ -n "$(fact wired)" ] && ! "$opt/$new/bin/python" -I -c 'import lgpio' 2>/dev/null; then
        say "the configuration has pins, and the operating system has no lgpio: apt install python3-lgpio" \
            "配置用到 GPIO，而操作系统没有 lgpio：apt install python3-lgpio"
    fi
}

# -- the commands

do_install() {
    verify
    fits
    writable
    case $root in "") [ "$(id -u)" = 0 ] || die "only root can install; use sudo" "只有 root 能安装；请用 sudo" ;; esac
    [ -z "$config" ] || [ -f "$config/station.toml" ] || die "$config has no station.toml" "$config 里没有 station.toml"
    if [ -d "$link" ] && [ ! -L "$link" ]; then
        die "$link was made by hand: stop the station and move it away, then start install.sh again: mv $link $link.by-hand" \
            "$link 是手工安装的：请停止本站并移走后重新运行：mv $link $link.by-hand"
    fi
    mkdir -p "$opt"
    resume
    whole "$new" || room "$(field room)" "$opt" "the program"
    if [ -z "$config$recipe" ] && [ ! -f "$conf/station.toml" ]; then
        die "there is no configuration yet: add --recipe NAME (station init lists them) or --config DIR" \
            "还没有配置：请加 --recipe 名称（station init 列出全部）或 --config 目录"
    fi
    build
    amiss=
    if [ -n "$(installed)" ] && [ "$(installed)" != "$new" ]; then
        upgrade
        settle
        done_with
        return
    fi
    [ -z "$config$recipe" ] || prepare_config
    known=$(facts "$new" "$conf/station.toml") || die "the configuration is not usable, see above" "配置不可用，见上"
    ciphers
    old=
    database=$(fact database)
    place_units "$new" ""
    place_drop_ins
    step units
    account
    step account
    point_to "$new"
    step linked
    settle
    if [ -n "$recipe" ] || [ "$managed" = hand ]; then
        :
    else
        former=1
        { services stop && services start && healthy; } || amiss=yes
    fi
    finish
    done_with
}

# Enabled, and found by the shell.
settle() {
    [ "$(fact data_folder)" = /var/lib/niutang-station ] ||
        say "data_folder is $(fact data_folder): the service may write to /var/lib/niutang-station alone" \
            "data_folder 为 $(fact data_folder)：服务只能写入 /var/lib/niutang-station"
    mkdir -p "$root/usr/local/bin"
    ln -sfn /opt/niutang-station/venv/bin/station "$root/usr/local/bin/station"
    [ "$managed" != systemd ] || systemctl daemon-reload
    for unit in $(wanted); do control enable "$unit"; done
    if [ "$managed" = systemd ]; then
        for unit in $(wanted); do
            case $unit in *.socket | *.timer) systemctl start "$unit" || true ;; esac
        done
    fi
    step settled
}

done_with() {
    say "version $version is installed" "版本 $version 已安装"
    if [ "$managed" = hand ]; then
        say "systemd does not run here: at the next boot it starts $(wanted | tr '\n' ' ')" "这里没有运行 systemd：下次启动时将启动 $(wanted | tr '\n' ' ')"
        say "by hand: systemctl start station, or as the account station: /opt/niutang-station/venv/bin/station run --config /etc/niutang-station/station.toml" \
            "手工启动：systemctl start station，或以账户 station 运行：/opt/niutang-station/venv/bin/station run --config /etc/niutang-station/station.toml"
    fi
    if [ -n "$recipe" ]; then
        say "not started: put your ports, addresses and passwords into $conf/station.toml and $conf/secrets, then: station check, systemctl start station" \
            "尚未启动：请把串口、地址和密码填入 $conf/station.toml 和 $conf/secrets，然后：station check，systemctl start station"
    fi
    page_code
    if [ -n "$amiss" ]; then
        die "the station is not well: station health, station doctor, journalctl -u station" \
            "本站运行不正常：station health、station doctor、journalctl -u station"
    fi
}

# The first person at the page names himself with it.
page_code() {
    [ -e "$units/page.service" ] && [ -z "$root$old" ] || return 0
    runuser -u station -- "$link/bin/station" page code --config "$conf/station.toml" --lang "$language" || true
}

do_rollback() {
    resume
    new=$(installed)
    [ -n "$new" ] || die "nothing is installed" "尚未安装"
    old=$(cat "$opt/before" 2>/dev/null) || true
    { [ "$old" != "$new" ] && whole "$old"; } || old=
    [ -n "$old" ] || die "there is no version before $new" "没有 $new 之前的版本"
    known=$(facts "$new" "$conf/station.toml")
    has=$(fact database_schema)
    if [ -n "$has" ] && [ "$has" != "$(schema "$old")" ]; then
        die "$old cannot read the database any more (schema $has): going back would lose what was measured since; nothing was changed" \
            "$old 已不能读取数据库（结构 $has）：退回将丢失升级后的数据；未作任何改动"
    fi
    turned=$new
    new=$old
    old=$turned
    version=${new%-*}
    database=$(fact database)
    migrates=no
    aside=
    former=$(health_code)
    stands_still
    remember prepared
    services stop
    place_units "$new" "$old"
    point_to "$new"
    remember switched
    [ "$managed" = hand ] || try
    echo "$old" >"$opt/before"
    rm -f "$state"
    say "the station is $new again" "已退回到 $new"
}

do_uninstall() {
    if [ "$purge" = yes ]; then
        say "this deletes every measured value, the configuration and the passwords; type: delete all data" \
            "将删除全部测量数据、配置和密码；确认请输入：delete all data"
        read -r typed || typed=
        [ "$typed" = "delete all data" ] || die "that was not typed; nothing was changed" "输入不符；未作任何改动"
    fi
    stands_still
    rm -f "$state"
    services stop
    [ "$managed" != systemd ] || systemctl stop page.service backup.timer clock-helper.socket 2>/dev/null || true
    gone=$(installed)
    for unit in ${gone:+$(units_of "$gone")}; do
        control disable "$unit"
        rm -f "$units/$unit"
    done
    rm -rf "$units/station.service.d/credentials.conf" "$units/station.service.d/pins.conf"
    rmdir "$units/station.service.d" 2>/dev/null || true
    rm -f "$root/etc/sysusers.d/niutang-station.conf" "$root/usr/local/bin/station"
    [ "$managed" != systemd ] || systemctl daemon-reload
    step units-gone
    if [ "$purge" = yes ]; then
        # The folder itself may be the place where a data partition is mounted.
        for folder in "$root/var/lib/niutang-station" "$root/var/lib/niutang-clock"; do
            [ ! -d "$folder" ] || find "$folder" -mindepth 1 -delete
        done
        rm -rf "$conf" "$conf".before-* "$conf.new" "$conf.part" "$root/etc/niutang-station"
    fi
    rm -rf "${opt:?}"
    step gone
    say "the program is gone" "程序已卸载"
    [ "$purge" = yes ] ||
        say "kept: $conf, $root/var/lib/niutang-station and the account station" "保留：$conf、$root/var/lib/niutang-station 和账户 station"
}

main() {
    command=install python=/usr/bin/python3
    recipe='' config='' root='' program='' without='' purge='' from='' new=''
    case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in zh*) language=zh ;; *) language=en ;; esac
    case ${1:-} in install | rollback | resume | uninstall) command=$1; shift ;; esac
    while [ $# -gt 0 ]; do
        case $1 in
            --purge-data) purge=yes; shift; continue ;;
            --help | -h) usage; exit 0 ;;
            --recipe | --config | --from | --lang | --without | --python | --root | --services) ;;
            *) usage >&2; die "$1: no such option" "$1：没有这个选项" ;;
        esac
        [ $# -ge 2 ] || die "$1 wants a value" "$1 需要一个值"
        case $1 in
            --recipe) recipe=$2 ;;
            --config) config=$(cd "$2" 2>/dev/null && pwd) || die "$2 is no folder" "$2 不是目录" ;;
            --from) from=$(cd "$2" 2>/dev/null && pwd) || die "$2 is no folder" "$2 不是目录" ;;
            --lang) language=$2 ;;
            --without) without=$2 ;;
            --python) python=$2 ;;
            --root) root=$(cd "$2" 2>/dev/null && pwd) || die "$2 is no folder" "$2 不是目录"; root=${root%/} ;;
            --services) program=$2 ;;
        esac
        shift 2
    done
    case $without in "" | sm4) ;; *) die "--without $without: only sm4 can be left away" "--without $without：只能省去 sm4" ;; esac
    [ -z "$config" ] || [ -z "$recipe" ] || die "either --recipe or --config" "--recipe 和 --config 只能选一个"
    [ -n "$from" ] || from=$(cd "$(dirname "$0")" && pwd)
    opt=$root/opt/niutang-station link=$root/opt/niutang-station/venv conf=$root/etc/niutang-station
    if [ -L "$conf" ]; then  # to a data partition
        conf=$(readlink "$conf")
        case $conf in /*) conf=$root$conf ;; *) conf=$root/etc/$conf ;; esac
    fi
    units=$root/etc/systemd/system state=$root/opt/niutang-station/unfinished
    patience=${NIUTANG_PATIENCE:-120} pause=${NIUTANG_PAUSE:-1}  # tries for a sign of life, seconds between two
    managed=hand
    if [ -n "$program" ]; then
        managed=program
    elif [ -z "$root" ] && [ -d /run/systemd/system ]; then
        managed=systemd
    fi
    trap '' HUP  # a lost SSH connection ends no upgrade
    mkdir -p "$root/run"
    exec 9>"$root/run/niutang-install.lock"
    flock --nonblock 9 || die "another install.sh is at work; wait for it" "另一个 install.sh 正在运行；请等它结束"
    "do_$command"
}

do_resume() { resume; }

main "$@"
