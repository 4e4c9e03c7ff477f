"use strict";
// Two pictures of a job: side by side, or one over the other with a slider that uncovers it.

const modes = [...document.querySelectorAll("[data-mode]")];

function show(mode) {
  document.body.classList.toggle("sliding", mode === "slider");
  for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
}

for (const button of modes) button.addEventListener("click", () => show(button.dataset.mode));

for (const slider of document.querySelectorAll(".pair-of-pictures input")) {
  const uncover = () => slider.parentElement.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", uncover);
  uncover(); // a browser keeps the places of sliders when a page is loaded again
}
