"use strict";
// The samples of a report: decoded from compact shards in the page, filtered, and only what is visible drawn.
(async () => {
  const $ = (id) => document.getElementById(id);
  const decode = async (id) => {
    const text = $(id).textContent.trim();
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const index = await decode("index");
  const { runs, tasks, rows, categories, shard } = index;
  const count = rows.id.length;
  const pictures = new Map();
  const details = new Map();
  const CARD = 228, MOST = 20000;
  let shown = [], current = -1, columns = 4;

  const runOf = (wanted) => Math.min(Math.max(0, Number(wanted.run || 0) || 0), runs.length - 1);
  const state = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const go = (changes) => {
    const next = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(changes)) value === "" || value == null ? next.delete(key) : next.set(key, value);
    location.hash = next.toString();
  };

  const nameOf = (row) => `${tasks[rows.task[row]]}/${rows.id[row]}`;
  const score = (run, row) => runs[run].score[row];
  const right = (run, row) => score(run, row) !== null && score(run, row) >= 1;
  const change = (row) => (runs.length > 1 && score(0, row) !== null && score(1, row) !== null ? score(1, row) - score(0, row) : 0);
  const tests = {
    wrong: (row, run) => score(run, row) !== null && !right(run, row),
    right: (row, run) => right(run, row),
    worse: (row) => change(row) < 0,
    better: (row) => change(row) > 0,
    unread: (row, run) => runs[run].flags[row] & 1,
    error: (row, run) => runs[run].flags[row] & 2,
    unfinished: (row, run) => runs[run].flags[row] & 4,
    cut: (row, run) => runs[run].flags[row] & 8,
  };
  const labels = { wrong: "wrong", right: "right", worse: "worse in B", better: "better in B", unread: "not readable", error: "without a score", unfinished: "unfinished", cut: "cut off" };
  const names = Object.keys(labels);
  // By run: of each row, a bit for each of `labels` that it is. Made once.
  const masks = [];
  const maskOf = (run) => {
    masks[run] ??= Uint16Array.from({ length: count }, (_, row) =>
      names.reduce((mask, name, bit) => (tests[name](row, run) ? mask | (1 << bit) : mask), 0));
    return masks[run];
  };
  // What a search looks through, in lower case: made once, when the page has been drawn.
  let searched = null;
  const search = () => {
    searched ??= rows.id.map((id, row) =>
      [id, rows.search[row], rows.gold[row], ...runs.map((run) => run.extracted[row] ?? "")].join("\n").toLowerCase());
    return searched;
  };
  // The rows that all filters leave, and how many each of `labels` would leave beside the other filters: one pass.
  const matches = (wanted) => {
    const run = runOf(wanted);
    const task = wanted.task === undefined ? -1 : tasks.indexOf(wanted.task);
    const category = wanted.cat === undefined ? -1 : categories.indexOf(wanted.cat);
    const query = (wanted.q || "").toLowerCase();
    const haystack = query ? search() : null;
    const mask = maskOf(run);
    const wantedBit = names.indexOf(wanted.show);
    const counts = names.map(() => 0);
    const found = [];
    for (let row = 0; row < count; row++) {
      if (wanted.task !== undefined && rows.task[row] !== task) continue;
      if (wanted.cat !== undefined && rows.category[row] !== category) continue;
      if (wanted.gold !== undefined && rows.gold[row] !== wanted.gold) continue;
      if (wanted.read !== undefined && (runs[run].extracted[row] ?? "") !== wanted.read) continue;
      if (query && !haystack[row].includes(query)) continue;
      for (let left = mask[row], bit = 0; left; left >>= 1, bit++) counts[bit] += left & 1;
      if (wantedBit < 0 || (mask[row] >> wantedBit) & 1) found.push(row);
    }
    return { found, totals: Object.fromEntries(names.map((name, bit) => [name, counts[bit]])) };
  };

  const element = (name, properties = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) key in made ? (made[key] = value) : made.setAttribute(key, value);
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const verdict = (run, row) => {
    const value = score(run, row);
    const kind = value === null ? "none" : value >= 1 ? "right" : value <= 0 ? "wrong" : "part";
    const label = { right: "right", wrong: "wrong", part: "partly right", none: "no score" }[kind];
    const read = runs[run].extracted[row] ?? (value === null ? runs[run].error[row] ?? "no score" : "(nothing read)");
    const name = runs.length > 1 ? `${runs[run].letter}: ` : "";
    return element("span", { className: `answer ${kind}`, title: label }, `${name}${read}`);
  };
  const picture = (number) => {
    const block = Math.floor(number / shard);
    if (!pictures.has(block)) pictures.set(block, JSON.parse($(`p${block}`).textContent));
    return `data:image/webp;base64,${pictures.get(block)[number % shard]}`;
  };
  const fill = (box, row) => {
    for (const number of rows.pictures[row]) box.append(element("img", { src: picture(number), alt: "" }));
  };
  const card = (place, reached) => {
    const row = shown[place];
    const box = element("div", { className: "picture" });
    fill(box, row);
    const made = element(
      "button", { className: "card", type: "button", tabIndex: reached ? 0 : -1 }, box,
      element("span", { className: "question" }, rows.search[row].slice(0, 160)),
      element("span", { className: "answer" }, `reference: ${rows.gold[row]}`),
      ...runs.map((_, run) => verdict(run, row)),
    );
    made.dataset.row = row;
    if (place === current) made.setAttribute("aria-current", "true");
    made.addEventListener("click", () => go({ s: nameOf(row) }));
    return made;
  };
  const draw = () => {
    const pane = $("samples");
    columns = Math.max(1, Math.floor(pane.clientWidth / 250));
    const height = CARD + 22 * (runs.length - 1);
    const lines = Math.ceil(shown.length / columns);
    $("space").style.height = `${lines * height + 8}px`;
    const first = Math.max(0, Math.floor(pane.scrollTop / height) - 1);
    const last = Math.min(lines, first + Math.ceil(pane.clientHeight / height) + 2);
    const from = first * columns, to = Math.min(shown.length, last * columns);
    // One of them is reached by Tab; the rest by j and k: nobody wants to press Tab 50,000 times.
    const reached = current >= from && current < to ? current : from;
    const focused = document.activeElement?.closest(".card")?.dataset.row;
    const made = [];
    for (let place = from; place < to; place++) made.push(card(place, place === reached));
    const frame = $("window");
    frame.style.transform = `translateY(${first * height}px)`;
    frame.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    for (const each of made) each.style.height = `${height - 16}px`;
    frame.replaceChildren(...made);
    if (focused !== undefined) made.find((each) => each.dataset.row === focused)?.focus({ preventScroll: true });
  };

  const block = (title, text) => {
    const long = text.length > MOST;
    const pre = element("pre", { tabIndex: 0 }, long ? text.slice(0, MOST) : text);
    const parts = [element("h3", {}, title), pre];
    if (long) {
      const more = element("button", { type: "button" }, `show all ${text.length.toLocaleString("en")} characters`);
      more.addEventListener("click", () => { pre.textContent = text; more.remove(); });
      parts.push(more);
    }
    return parts;
  };
  let asked = 0;
  const detail = async () => {
    const pane = $("detail");
    const turn = ++asked;
    if (current < 0) { if (!pane.hidden) { pane.hidden = true; draw(); } return; }
    const place = current, row = shown[place];
    const number = Math.floor(row / shard);
    if (!details.has(number)) details.set(number, decode(`d${number}`));
    const found = (await details.get(number))[row % shard];
    if (turn !== asked) return; // another sample was opened in between
    const box = element("div", { className: "picture" });
    fill(box, row);
    const parts = [
      element("h2", {}, `${tasks[rows.task[row]]} / ${rows.id[row]}`),
      element("p", { className: "soft" }, `${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}` + (categories[rows.category[row]] ? ` · ${categories[rows.category[row]]}` : "")),
      box,
      ...block("prompt as sent", found.prompt),
    ];
    if (found.choices.length) parts.push(...block("choices", found.choices.map((text, at) => `${String.fromCharCode(65 + at)}. ${text}`).join("\n")));
    parts.push(...block("reference", found.references.join("\n")));
    runs.forEach((run, at) => {
      const own = found.runs[at];
      parts.push(element("h3", {}, `${run.letter}: ${run.label}`), verdict(at, row));
      const facts = [
        score(at, row) === null ? null : `score ${score(at, row)}`,
        own.tokens === null ? null : `${own.tokens} tokens`,
        own.seconds === null ? null : `${own.seconds.toFixed(3)} s`,
        own.worker, own.finish,
      ].filter(Boolean);
      parts.push(element("p", { className: "soft" }, facts.join(" · ")));
      if (own.variants.length) parts.push(element("p", {}, own.variants.map(([name, value, read]) => `${name}: ${value ?? "–"} (${read ?? "nothing read"})`).join(" · ")));
      if (own.error) parts.push(...block("error", own.error));
      if (own.reasoning) {
        const fold = element("details", {}, element("summary", {}, `reasoning, ${own.reasoning.length.toLocaleString("en")} characters`));
        fold.addEventListener("toggle", () => { if (fold.open && fold.children.length === 1) fold.append(...block("", own.reasoning)); });
        parts.push(fold);
      }
      if (own.answer !== null) parts.push(...block("answer", own.answer));
    });
    pane.replaceChildren(...parts);
    pane.scrollTop = 0;
    if (pane.hidden) { pane.hidden = false; draw(); reveal(); }
  };

  const reveal = () => {
    const height = CARD + 22 * (runs.length - 1), line = Math.floor(current / columns), pane = $("samples");
    if (line * height < pane.scrollTop || (line + 1) * height > pane.scrollTop + pane.clientHeight) pane.scrollTop = line * height - 8;
  };
  const update = () => {
    const wanted = state();
    const { found, totals } = matches(wanted);
    shown = found;
    current = wanted.s === undefined ? -1 : shown.findIndex((row) => nameOf(row) === wanted.s);
    $("shows").replaceChildren(
      ...names.filter((name) => totals[name] || wanted.show === name).map((name) => {
        const button = element("button", { type: "button" }, `${labels[name]} ${totals[name].toLocaleString("en")}`);
        button.setAttribute("aria-pressed", String(wanted.show === name));
        button.addEventListener("click", () => go({ show: wanted.show === name ? "" : name, s: "" }));
        return button;
      }),
    );
    for (const name of ["task", "cat", "run"]) if ($(name)) $(name).value = wanted[name] ?? "";
    if (document.activeElement !== $("q")) $("q").value = wanted.q ?? "";
    const cell = wanted.gold !== undefined ? ` · reference ${wanted.gold}, read ${wanted.read || "nothing"}` : "";
    $("found").textContent = `${shown.length.toLocaleString("en")} of ${count.toLocaleString("en")} samples${cell}`;
    if (current >= 0) reveal(); else $("samples").scrollTop = 0;
    draw();
    detail();
  };
  const step = (by) => {
    if (!shown.length) return;
    const next = current < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, current + by));
    go({ s: nameOf(shown[next]) });
  };
  const keys = {
    j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    "/": () => $("q").focus(), d: () => go({ show: "worse", s: "" }), D: () => go({ show: "better", s: "" }),
    u: () => go({ show: "unread", s: "" }), e: () => go({ show: "error", s: "" }), w: () => go({ show: "wrong", s: "" }),
    Escape: () => { location.hash = ""; }, "?": () => $("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) { if (event.key === "Escape") event.target.blur(); return; }
    if ($("help").open) return;
    if (event.target.closest("pre") && event.key.startsWith("Arrow")) return;
    const number = Number(event.key);
    const act = keys[event.key] ?? (number >= 1 && number <= runs.length ? () => go({ run: number === 1 ? "" : String(number - 1) }) : null);
    if (act) { event.preventDefault(); act(); }
  });
  for (const name of ["task", "cat", "run"]) $(name)?.addEventListener("change", (event) => go({ [name]: event.target.value, s: "" }));
  $("q").addEventListener("input", (event) => go({ q: event.target.value, s: "" }));
  $("samples").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", () => requestAnimationFrame(draw));
  addEventListener("hashchange", update);
  for (const link of document.querySelectorAll("[data-go]")) link.addEventListener("click", (event) => {
    event.preventDefault();
    location.hash = link.dataset.go;
    $("browse").scrollIntoView();
  });
  if (index.without) {
    $("without").textContent = `${index.without.toLocaleString("en")} samples are without a thumbnail, which would have made this file too large, or taken too long.`;
    $("without").hidden = false;
  }
  update();
  for (const box of document.querySelectorAll(".printed [data-row]")) fill(box, Number(box.dataset.row));
  document.documentElement.dataset.ready = "true";
  (globalThis.requestIdleCallback ?? setTimeout)(search); // Safari has none
})();
