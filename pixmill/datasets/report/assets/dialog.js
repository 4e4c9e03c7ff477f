"use strict";
// The dialog: one job with its full images and everything that is known about it.

const jobDialog = (() => {
  const dialog = document.getElementById("job");
  let order = [];
  let shown = null;

  function show(job) {
    shown = job;
    const pressed = document.activeElement?.getAttribute("aria-label");
    dialog.replaceChildren(pictures(job), panel(job));
    if (!dialog.open) dialog.showModal();
    // The element that had the focus is gone: keys go nowhere until another has it.
    // Not every button has a label, and neither has what was in focus before the first job.
    const again = pressed ? [...dialog.querySelectorAll(".controls button:enabled")].find((button) => button.ariaLabel === pressed) : null;
    (again ?? dialog.querySelector("h2")).focus();
    dialog.querySelector(".facts").scrollTop = 0;
    preload(next(1));
    preload(next(-1));
  }

  const next = (by) => order[order.indexOf(shown) + by];

  function preload(job) {
    const file = job === undefined ? null : jobs.file(job);
    if (file) new Image().src = file;
  }

  function go(by) {
    if (next(by) !== undefined) state.set({ job: String(next(by) + 1) });
  }

  function pictures(job) {
    const inputs = jobs.inputs(job).filter((input) => input.thumb);
    const more = jobs.more(job);
    const total = more.length + 1;
    const output = inputs.length ? "output" : "";
    const caption = (number) => (more.length ? [output, `${number} of ${total}`].filter(Boolean).join(" · ") : output);
    const figures = [
      ...inputs.map((input) => figure(input.link, input.thumb, inputs.length > 1 ? `input · ${input.name}` : "input", notFound)),
      jobs.file(job) ? figure(jobs.file(job), jobs.thumb(job), caption(1), () => blank(job)) : make("figure", {}, blank(job)),
      ...more.map((image, at) => figure(image.file, image.thumb, caption(at + 2), notFound)),
    ];
    const element = make("div", { class: more.length ? "pictures several" : "pictures" }, ...figures);
    // As near to a square as it gets, so that all of them are seen at once.
    if (more.length) element.style.setProperty("--across", figures.length < 3 ? figures.length : Math.ceil(Math.sqrt(figures.length)));
    return element;
  }

  // The full image; its thumbnail where the image itself is gone.
  function figure(full, thumb, caption, instead) {
    const fallback = () => (thumb ? picture(thumb, caption || "output", instead) : instead());
    const image = picture(full, caption || "output", fallback);
    image.loading = "eager";
    return make("figure", {}, link(full, image), caption ? make("figcaption", {}, caption) : null);
  }

  function panel(job) {
    return make("div", { class: "panel" }, head(job), make("div", { class: "facts", tabindex: "0" }, ...facts(job)));
  }

  function head(job) {
    const at = order.indexOf(job);
    const status = statusOf(job);
    const button = (name, sign, work, disabled = false) => {
      const element = make("button", { type: "button", class: "plain icon", "aria-label": name, title: name }, sign);
      element.disabled = disabled;
      element.addEventListener("click", work);
      return element;
    };
    const place = at < 0 ? "" : `${(at + 1).toLocaleString("en")} of ${order.length.toLocaleString("en")}`;
    return make(
      "header",
      {},
      make(
        "div",
        { class: "controls" },
        button("Previous", "‹", () => go(-1), next(-1) === undefined),
        button("Next", "›", () => go(1), next(1) === undefined),
        make("span", { class: "count" }, place),
        make("span", { class: "push" }),
        jobs.has("candidate") && jobs.file(job) ? rejectButton(job) : null,
        starButton(job),
        button("Close", "✕", close),
      ),
      make("h2", { id: "job-title", dir: "auto", tabindex: "-1" }, jobs.get("row_key", job) ?? `job ${job + 1}`),
      make("p", { class: "status" }, make("span", { class: `dot is-${status}` }), STATUS[status], jobs.get("cached", job) ? " · cached" : null),
    );
  }

  function facts(job) {
    const get = (name) => jobs.get(name, job);
    return [
      get("error_code") || get("error_message") ? problem(job) : null,
      list(about.axes.map((axis, k) => [axis.name, jobs.axisLabel(k, job)]), "axes"),
      section("Scores", list(about.scores.map((score, k) => [score.name, scored(score, k, job)]), "axes")),
      section("Candidates that were not kept", rejected(job)),
      words("Prompt", get("prompt")),
      get("rephraser_result") === get("prompt") ? null : words("Rephrased by the provider", get("rephraser_result")),
      list([
        ["Seed", get("seed")],
        ["Seed used", get("effective_seed") === get("seed") ? null : get("effective_seed")],
        ["Candidate", get("candidate")],
        ["Accepted", get("accepted") === null ? null : get("accepted") ? "yes" : "no"],
        ["Replicate", jobs.replicates.length > 1 ? get("replicate") : null],
        ["Point", get("point_id")],
        ["Row", get("row_number")],
      ]),
      request(job),
      list([
        ["Waited", milliseconds(get("queue_ms"))],
        ["Answered in", milliseconds(get("latency_ms"))],
        ["of that, provider", milliseconds(get("provider_ms"))],
        ["Downloaded in", milliseconds(get("download_ms"))],
        ["Finished", instant(get("finished_at"))],
        ["Attempts", get("attempts")],
        ["Cost", get("cost") === null ? null : `${get("cost")} ${get("currency") ?? ""}`],
        ["Request id", get("request_id")],
        ["Run", get("run_id")],
        ["Task", get("task_id")],
        ["Images", get("image_count") > 1 ? get("image_count") : null],
        ["File", get("file") && link(jobs.file(job), breakable(get("file")))],
        ...jobs.more(job).map((image, at) => [`File ${at + 2}`, link(image.file, breakable(image.name))]),
        ["Image address", get("url") && link(get("url"), "open ↗")],
        ...(get("more_urls") ?? []).map((url, at) => [`Image address ${at + 2}`, url && link(url, "open ↗")]),
        ["until", get("url") && instant(get("url_expires_at"))],
        ...jobs.inputs(job).map((input) => [input.name, link(input.link, input.thumb ? "open" : "open ↗")]),
      ]),
      section("From the table", list(about.own.map((name, k) => [name, jobs.own(k, job)]), "own")),
    ].filter(Boolean);
  }

  function rejected(job) {
    const all = jobs.rejected(job);
    if (!all.length) return null;
    const parts = all.map(({ number, reason, file, thumb }) => {
      const small = thumb ? link(file, picture(thumb, `candidate ${number}`, notFound)) : null;
      return make("li", {}, small, make("span", {}, make("b", {}, `candidate ${number}`), ` ${reason}`));
    });
    return make("ul", { class: "rejected" }, ...parts);
  }

  function scored(score, k, job) {
    const value = jobs.score(k, job);
    if (value === null) return null;
    const mark = jobs.flags(job).includes(score.name) ? make("b", { class: "flagged" }, " ⚑ flagged") : null;
    return make("span", {}, inThreeDigits(value), mark);
  }

  function problem(job) {
    const code = jobs.get("error_code", job);
    const message = jobs.get("error_message", job);
    return make("div", { class: "problem" }, code ? make("b", {}, code) : null, message ? make("p", { dir: "auto" }, message) : null);
  }

  const section = (title, content) => (content ? make("section", {}, make("h3", {}, title), content) : null);

  const words = (title, text) => (text ? section(title, make("p", { class: "text", dir: "auto" }, text)) : null);

  // Names and values, without those that are not known.
  function list(pairs, kind = "") {
    const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
    if (!known.length) return null;
    const parts = known.flatMap(([name, value]) => [
      make("dt", { dir: "auto" }, breakable(name)),
      make("dd", { dir: "auto" }, value instanceof Node ? value : String(value)),
    ]);
    return make("dl", { class: kind || null }, ...parts);
  }

  function request(job) {
    const params = jobs.get("params", job);
    if (params === null) return null;
    return section(`Request · ${jobs.get("req_key", job) ?? ""}`, make("pre", { tabindex: "0" }, pretty(params)));
  }

  function pretty(json) {
    try {
      return JSON.stringify(JSON.parse(json), null, 2);
    } catch {
      return json;
    }
  }

  function close() {
    dialog.close();
  }

  // Escape closes by itself; whatever closes it, the address and the focus follow.
  dialog.addEventListener("close", () => {
    const job = shown;
    shown = null;
    state.set({ job: "" });
    if (job !== null) views[current()].reveal?.(job);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else return;
    event.preventDefault();
  });

  return {
    // Shows what the address says.
    render(visible) {
      const job = Number(state.get("job")) - 1;
      const known = Number.isInteger(job) && job >= 0 && job < jobs.count;
      if (known && job !== shown) {
        order = visible;
        show(job);
      } else if (!known && dialog.open) {
        close();
      }
    },
    isOpen: () => dialog.open,
    job: () => shown,
  };
})();
