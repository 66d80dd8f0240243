# Changes the one line of /boot/firmware/cmdline.txt; running it twice changes nothing more:
#   sudo sed -i.before -f hardware/boot/cmdline.sed /boot/firmware/cmdline.txt

# No console on the line the instruments are on.
s/console=\(serial0\|ttyS0\|ttyAMA0\),[0-9a-z]* *//g
# The kernel counts memory per service, so that MemoryMax= of station.service holds.
/cgroup_enable=memory/!s/ *$/ cgroup_enable=memory/
