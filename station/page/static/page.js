// Renews what stands in regions with data-live, without a flicker; everything works without this file.
"use strict";
(() => {
  const seconds = Number(document.querySelector("[data-refresh]")?.dataset.refresh);
  const more = document.querySelector("details.more");
  document.addEventListener("click", (event) => {
    if (more?.open && !more.contains(event.target)) more.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && more?.open) {
      more.open = false;
      more.querySelector("summary").focus();
    }
  });
  if (!seconds) return;

  const renewed = (old, fresh) => {
    if (!fresh || old.innerHTML === fresh.innerHTML || old.contains(document.activeElement)) return;
    const open = [...old.querySelectorAll("details")].map((one) => one.open);
    old.replaceChildren(...fresh.childNodes);
    old.querySelectorAll("details").forEach((one, n) => { if (open[n]) one.open = true; });
  };
  const renew = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1", Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelectorAll("[data-live]").forEach((old) => renewed(old, fresh.getElementById(old.id)));
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  };
  setInterval(renew, seconds * 1000);
  document.addEventListener("visibilitychange", renew);
})();
