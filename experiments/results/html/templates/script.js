"use strict";

/* Reads a chart's curves at a step: by the pointer over it, or by the slider below it. */
function makeReadable(chart) {
  const readings = JSON.parse(chart.dataset.readings);
  const plot = chart.querySelector(".plot");
  const cursor = chart.querySelector(".cursor");
  const slider = chart.querySelector("input");
  const output = chart.querySelector("output");

  function show(place) {
    const [share, words] = readings[place];
    slider.value = place;
    slider.setAttribute("aria-valuetext", words);
    output.textContent = words;
    cursor.style.left = `${100 * share}%`;
  }

  function nearest(event) {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const distances = readings.map(([at]) => Math.abs(at - share));
    return distances.indexOf(Math.min(...distances));
  }

  slider.min = 0;
  slider.max = readings.length - 1;
  slider.hidden = false;
  cursor.hidden = false;
  show(readings.length - 1);
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const kind of ["pointermove", "pointerdown"]) {
    plot.addEventListener(kind, (event) => show(nearest(event)));
  }
}

/* Copies a command; where the browser forbids that, it is selected instead. */
async function copy(button) {
  const code = document.getElementById(button.dataset.copy);
  const said = document.getElementById("said");
  try {
    await navigator.clipboard.writeText(code.textContent);
    said.textContent = "Copied.";
    button.firstChild.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    said.textContent = "Selected; copy it with the keyboard.";
    button.firstChild.textContent = "Selected";
  }
  setTimeout(() => {
    button.firstChild.textContent = "Copy";
    said.textContent = "";
  }, 2000);
}

document.querySelectorAll(".chart").forEach(makeReadable);
document.querySelectorAll("[data-copy]").forEach((button) => {
  button.addEventListener("click", () => copy(button));
});

/* Where the contents don't stand beside the results, they would push them away. */
if (getComputedStyle(document.querySelector("nav")).position !== "sticky") {
  document.querySelector(".contents").open = false;
}
