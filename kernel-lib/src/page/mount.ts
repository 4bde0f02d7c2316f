/**
 * The only script of ours that runs inside a page: it finds each figure's data and hands it to plotly.
 *
 * Data travels in `<script type="application/json" data-for="ID">` blocks, which a browser never executes, so the one
 * executable text is constant and its hash can stand in the Content-Security-Policy. On a wide screen all figures are drawn
 * before the page counts as loaded, so that printing straight after loading finds them; on a phone one per task, so
 * that it stays responsive, with titles and legends broken into lines, no toolbar over them, and drags left to scrolling. Every drawing
 * gets a view box, so that a sheet of paper can scale it (style.ts). In dark mode paper, grid and text colours follow the page;
 * paper is always light.
 * When all are drawn `<html data-figures="drawn">` is set (or "failed"), which the browser test waits for.
 */

/** Browser script that mounts the figures; depends on a global `Plotly`. */
export const MOUNT_SCRIPT: string = `
"use strict";
(function () {
  var dark = window.matchMedia ? window.matchMedia("(prefers-color-scheme: dark)") : { matches: false };
  var touch = window.matchMedia ? window.matchMedia("(pointer: coarse)") : { matches: false };
  var root = document.documentElement;
  var paper = false;
  function broken(text, chars) {
    var line = "";
    var lines = [];
    text.split(" ").forEach(function (word) {
      if (line !== "" && (line + " " + word).length > chars) { lines.push(line); line = word; }
      else line = line === "" ? word : line + " " + word;
    });
    return lines.concat(line).join("<br>");
  }
  function wrap(title, chars, size) {
    if (!title || typeof title.text !== "string") return title;
    var font = Object.assign({}, title.font, { size: size });
    return Object.assign({}, title, { text: broken(title.text, chars), font: font });
  }
  function named(data, width) {
    return data.map(function (trace) {
      if (typeof trace.name !== "string" || width >= 520) return trace;
      return Object.assign({}, trace, { name: broken(trace.name.split("<br>").join(" "), Math.floor((width - 70) / 8)) });
    });
  }
  function themed(layout, width) {
    var clear = "rgba(0,0,0,0)";
    var defaults = { margin: { t: 48, r: 16, b: 48, l: 56 }, paper_bgcolor: clear, plot_bgcolor: clear };
    var copy = Object.assign(defaults, layout || {}, { autosize: true });
    delete copy.width;
    var narrow = width < 520;
    if (narrow) copy.title = wrap(copy.title, Math.floor(width / 9), 14);
    if (narrow || touch.matches) copy.dragmode = false;
    var isDark = dark.matches && !paper;
    var ink = isDark ? { gridcolor: "#333c47", zerolinecolor: "#55606e", linecolor: "#55606e" } : {};
    Object.keys(Object.assign({ xaxis: 0, yaxis: 0 }, copy)).forEach(function (key) {
      if (!/^[xy]axis[0-9]*$/.test(key)) return;
      copy[key] = Object.assign({ automargin: true }, copy[key], ink);
      if (copy.dragmode === false) copy[key].fixedrange = true;
      if (narrow && key.charAt(0) === "x") copy[key].title = wrap(copy[key].title, Math.floor(width / 11), 12);
    });
    if (!isDark) return copy;
    copy.paper_bgcolor = clear;
    copy.plot_bgcolor = clear;
    copy.font = Object.assign({}, copy.font, { color: "#e4e8ee" });
    return copy;
  }
  function scalable(slot) {
    Array.prototype.forEach.call(slot.querySelectorAll(".main-svg"), function (svg) {
      var width = svg.getAttribute("width");
      var height = svg.getAttribute("height");
      svg.setAttribute("viewBox", "0 0 " + width + " " + height);
      slot.style.setProperty("--ratio", width + " / " + height);
    });
  }
  function draw(block) {
    var slot = document.getElementById(block.getAttribute("data-for"));
    var figure = JSON.parse(block.textContent);
    var calm = slot.clientWidth < 520 || touch.matches;
    var config = Object.assign({ responsive: true, displaylogo: false }, figure.config || {}, calm ? { displayModeBar: false } : {});
    var first = !slot.querySelector(".main-svg");
    if (first) slot.textContent = "";
    var drawn = Plotly.react(slot, named(figure.data, slot.clientWidth), themed(figure.layout, slot.clientWidth), config);
    if (first) slot.on("plotly_afterplot", function () { scalable(slot); });
    scalable(slot);
    if (!first || !figure.frames) return drawn;
    return drawn.then(function () { return Plotly.addFrames(slot, figure.frames); });
  }
  var blocks = Array.prototype.slice.call(document.querySelectorAll("script[data-for]"));
  var failed = false;
  function fail(block, error) {
    failed = true;
    document.getElementById(block.getAttribute("data-for")).textContent = "This figure could not be drawn: " + error;
  }
  function attempt(block) {
    try { return Promise.resolve(draw(block)).catch(function (error) { fail(block, error); }); }
    catch (error) { fail(block, error); return Promise.resolve(); }
  }
  function drawAll() {
    failed = false;
    var all = root.clientWidth >= 700 ? Promise.all(blocks.map(attempt)) : blocks.reduce(function (before, block) {
      return before.then(function () { return attempt(block); }).then(function () {
        return new Promise(function (next) { setTimeout(next, 0); });
      });
    }, Promise.resolve());
    return all.then(function () { root.setAttribute("data-figures", failed ? "failed" : "drawn"); });
  }
  function onPaper(now) {
    return function () {
      if (!dark.matches || paper === now) return;
      paper = now;
      blocks.forEach(attempt);
    };
  }
  window.addEventListener("beforeprint", onPaper(true));
  window.addEventListener("afterprint", onPaper(false));
  drawAll();
  if (dark.addEventListener) dark.addEventListener("change", drawAll);
})();
`.trim();
