"use strict";
// What only a page of `pixmill view` does: it turns pages, and follows a run that is under way.

for (const turn of document.querySelectorAll("[data-page]")) {
  turn.addEventListener("click", (event) => {
    // What is chosen in the views stands behind the # and goes along.
    event.preventDefault();
    location.href = `?page=${turn.dataset.page}${location.hash}`;
  });
}

if (about.run) {
  const page = new URLSearchParams(location.search).get("page") ?? "1";
  const words = document.getElementById("live");
  const bar = document.getElementById("progress");
  let seen = 0;

  function show(run) {
    words.replaceChildren(make("span", { class: "dot is-running" }), ` ${run.words}`);
    words.title = run.words;
    bar.style.width = `${Math.round(1000 * run.share) / 10}%`;
    if (run.chunks) jobs.replace(run.chunks);
    seen = run.seen;
  }

  async function follow() {
    const began = performance.now();
    try {
      const answer = await fetch(`live?page=${encodeURIComponent(page)}&seen=${seen}`, { cache: "no-store" });
      if (answer.ok) {
        const run = await answer.json();
        if (run.run !== about.run) {
          // It is over, and published: the figures are about all of it now.
          location.reload();
          return;
        }
        show(run);
      }
    } catch {
      words.textContent = "pixmill view has ended";
    }
    // At most two seconds behind, and less often where an answer takes long: the run comes first.
    setTimeout(next, Math.min(1800, Math.max(1500, 10 * (performance.now() - began))));
  }

  // Nobody looks at a hidden page.
  function next() {
    if (document.hidden) document.addEventListener("visibilitychange", follow, { once: true });
    else follow();
  }

  next();
}
