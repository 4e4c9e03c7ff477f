"use strict";
// Puts the page together: which view is shown, what clicks and keys do everywhere, what the header counts.

const views = { grid, gallery, summary: { render: spreads.render, resize: spreads.render, order: () => [] } };

function current() {
  const wanted = state.get("view");
  if (wanted in views && (wanted !== "grid" || grid.possible)) return wanted;
  return grid.possible ? "grid" : "gallery";
}

// What is drawn is drawn again only when something that it depends on has changed.
let drawn = "";

function showAll() {
  const view = current();
  for (const name of Object.keys(views)) document.getElementById(name).hidden = name !== view;
  for (const tab of document.querySelectorAll(".tabs a")) {
    if (tab.dataset.view === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  const wanted = new URLSearchParams(location.hash.slice(1));
  wanted.delete("job");
  const key = `${view} ${wanted}`;
  if (key !== drawn) views[view].render();
  drawn = key;
  jobDialog.render(views[view].order());
}

function showStars() {
  const count = stars.jobs().length;
  document.getElementById("stars").textContent = count;
  document.querySelector(".picks").classList.toggle("none", !count);
  document.getElementById("download").disabled = !count && !rejects.jobs().length;
  for (const button of document.querySelectorAll("[data-star]")) showStar(button, Number(button.dataset.star));
  for (const button of document.querySelectorAll("[data-reject]")) showReject(button, Number(button.dataset.reject));
}

const jobAt = (element) => {
  const open = element?.closest?.("[data-job]");
  return open ? Number(open.dataset.job) : null;
};

addEventListener("click", (event) => {
  const star = event.target.closest("[data-star]");
  const reject = event.target.closest("[data-reject]");
  const tab = event.target.closest("[data-view]");
  const job = jobAt(event.target);
  if (star) stars.toggle(Number(star.dataset.star));
  else if (reject) rejects.toggle(Number(reject.dataset.reject));
  else if (job !== null) state.set({ job: String(job + 1) });
  else if (tab) {
    // A tab keeps what is chosen in the views; as a link it would forget it.
    event.preventDefault();
    state.set({ view: tab.dataset.view, job: "" });
  }
});

addEventListener("keydown", (event) => {
  if (event.key !== "s" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const job = jobDialog.isOpen() ? jobDialog.job() : jobAt(document.activeElement);
  if (job !== null) stars.toggle(job);
});

document.getElementById("download").addEventListener("click", downloadPicks);
document.getElementById("theme").addEventListener("click", theme.toggle);
document.querySelector('[data-view="grid"]').hidden = !grid.possible;
addEventListener("resize", beforeNextFrame(() => views[current()].resize?.()));
for (const kind of ["beforeprint", "afterprint"]) {
  addEventListener(kind, () => {
    printing.is = kind === "beforeprint";
    views[current()].render();
    if (printing.is) for (const image of document.images) image.loading = "eager";
  });
}
state.onChange(showAll);
stars.onChange(showStars);
rejects.onChange(showStars);
stars.onChange(() => current() === "gallery" && state.get("stars") && !jobDialog.isOpen() && gallery.render());
// The gallery renews its cards by itself; a grid is drawn anew, also when it is opened the next time.
jobs.onChange(() => {
  drawn = "";
  if (current() === "grid") showAll();
});
showStars();
showAll();
