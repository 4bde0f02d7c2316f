/**
 * The only script of ours that runs inside a page: it finds each figure's data and hands it to plotly.
 *
 * Data travels in `<script type="application/json" data-for="ID">` blocks, which a browser never executes, so the one
 * executable text is constant and its hash can stand in the Content-Security-Policy. Figures are drawn one per task,
 * so that a phone stays responsive, and titles are broken into lines there; in dark mode paper, grid and text colours follow
 * the page.
 * When all are drawn `<html data-figures="drawn">` is set (or "failed"), which the browser test waits for.
 */

/** Browser script that mounts the figures; depends on a global `Plotly`. */
export const MOUNT_SCRIPT: string = `
"use strict";
(function () {
  var dark = window.matchMedia ? window.matchMedia("(prefers-color-scheme: dark)") : { matches: false };
  var root = document.documentElement;
  function wrap(title, chars, size) {
    if (!title || typeof title.text !== "string") return title;
    var line = "";
    var lines = [];
    title.text.split(" ").forEach(function (word) {
      if (line !== "" && (line + " " + word).length > chars) { lines.push(line); line = word; }
      else line = line === "" ? word : line + " " + word;
    });
    var font = Object.assign({}, title.font, { size: size });
    return Object.assign({}, title, { text: lines.concat(line).join("<br>"), font: font });
  }
  function themed(layout, width) {
    var clear = "rgba(0,0,0,0)";
    var defaults = { margin: { t: 48, r: 16, b: 48, l: 56 }, paper_bgcolor: clear, plot_bgcolor: clear };
    var copy = Object.assign(defaults, layout || {}, { autosize: true });
    delete copy.width;
    var narrow = width < 520;
    if (narrow) copy.title = wrap(copy.title, Math.floor(width / 9), 14);
    var ink = dark.matches ? { gridcolor: "#333c47", zerolinecolor: "#55606e", linecolor: "#55606e" } : {};
    Object.keys(Object.assign({ xaxis: 0, yaxis: 0 }, copy)).forEach(function (key) {
      if (!/^[xy]axis[0-9]*$/.test(key)) return;
      copy[key] = Object.assign({ automargin: true }, copy[key], ink);
      if (narrow && key.charAt(0) === "x") copy[key].title = wrap(copy[key].title, Math.floor(width / 11), 12);
    });
    if (!dark.matches) return copy;
    copy.paper_bgcolor = clear;
    copy.plot_bgcolor = clear;
    copy.font = Object.assign({}, copy.font, { color: "#e4e8ee" });
    return copy;
  }
  function draw(block) {
    var slot = document.getElementById(block.getAttribute("data-for"));
    var figure = JSON.parse(block.textContent);
    var config = Object.assign({ responsive: true, displaylogo: false }, figure.config || {});
    slot.textContent = "";
    return Plotly.react(slot, figure.data, themed(figure.layout, slot.clientWidth), config);
  }
  var blocks = Array.prototype.slice.call(document.querySelectorAll("script[data-for]"));
  function drawAll() {
    var failed = false;
    return blocks.reduce(function (before, block) {
      return before.then(function () { return draw(block); }).then(function () {
        return new Promise(function (next) { setTimeout(next, 0); });
      }).catch(function (error) {
        failed = true;
        document.getElementById(block.getAttribute("data-for")).textContent = "This figure could not be drawn: " + error;
      });
    }, Promise.resolve()).then(function () { root.setAttribute("data-figures", failed ? "failed" : "drawn"); });
  }
  drawAll();
  if (dark.addEventListener) dark.addEventListener("change", drawAll);
})();
`.trim();
