"use strict";
// The viewer's pages: what goes on is asked for again, and runs that were chosen stay chosen while one searches.
(() => {
  const KEPT = "muster-chosen";
  const kept = () => {
    try { return JSON.parse(sessionStorage.getItem(KEPT)) ?? []; } catch { return []; }
  };
  const form = document.getElementById("basket");
  const show = () => {
    if (!form) return;
    const chosen = kept();
    const boxes = [...form.querySelectorAll("input[type=checkbox]")];
    for (const box of boxes) box.checked = chosen.includes(box.value);
    const here = new Set(boxes.map((box) => box.value));
    document.getElementById("kept").replaceChildren(...chosen.filter((name) => !here.has(name)).map((name) => {
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name: "run", value: name });
      return input;
    }));
    document.getElementById("chosen").textContent = chosen.length
      ? `Chosen: ${chosen.join(", ")}` : "Choose runs to compare them; the first is the baseline.";
    document.getElementById("clear").hidden = !chosen.length;
  };
  form?.addEventListener("change", (event) => {
    const { checked, value } = event.target;
    const others = kept().filter((name) => name !== value);
    sessionStorage.setItem(KEPT, JSON.stringify(checked ? [...others, value] : others));
    show();
  });
  form?.addEventListener("submit", (event) => { // in the order in which they were chosen
    event.preventDefault();
    const target = event.submitter?.getAttribute("formaction") ?? form.getAttribute("action");
    location.href = `${target}?${new URLSearchParams(kept().map((name) => ["run", name]))}`;
  });
  document.getElementById("clear")?.addEventListener("click", () => { sessionStorage.removeItem(KEPT); show(); });
  const again = () => {
    const seconds = Number(document.getElementById("live")?.dataset.every);
    if (seconds) setTimeout(renew, seconds * 1000);
  };
  const renew = async () => {
    try {
      const text = await (await fetch(location.href)).text();
      const now = new DOMParser().parseFromString(text, "text/html").getElementById("live");
      const old = document.getElementById("live");
      if (now && !old.contains(document.activeElement)) { old.replaceWith(document.adoptNode(now)); show(); }
    } catch { /* the server may be back at the next turn */ }
    again();
  };
  show();
  again();
  document.documentElement.dataset.ready = "true";
})();
