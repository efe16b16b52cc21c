"use strict";
// What every picture builds upon. A kind of picture is a function (figure, data) in backproof.pictures.
const backproof = { pictures: {} };

// A stored array (base64, or a plain list) as a typed array.
backproof.numbers = (stored) => {
  if (Array.isArray(stored)) return stored.map((value) => (value === null ? NaN : value));
  const text = atob(stored.base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const kinds = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array };
  return new kinds[stored.dtype](bytes.buffer);
};

// A number for people: so many digits, no trailing zeros, an exponent where it is short or long.
backproof.format = (value, digits = 6) => {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) return String(Number(value.toPrecision(digits)));
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  return `${Number(mantissa)}e${exponent.replace("+", "")}`;
};

// make("button", {type: "button"}, "Copy"): an element; text stays text.
backproof.make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

// A colour of the page, as the scheme in force has it.
backproof.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const schemes = matchMedia("(prefers-color-scheme: dark)");
backproof.dark = () => schemes.matches;
backproof.recoloured = (act) => schemes.addEventListener("change", act);

// A canvas that fills its holder's width: draw(context, width, height, ratio) is called when the size, the colours or the data change.
backproof.surface = (holder, height, draw) => {
  const canvas = backproof.make("canvas", { "aria-hidden": "true" });
  holder.append(canvas);
  const surface = { canvas, width: 0, height: 0, waiting: false };
  const paint = () => {
    surface.waiting = false;
    if (surface.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.round(surface.width * ratio);
    const high = Math.round(surface.height * ratio);
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      canvas.style.width = `${surface.width}px`;
      canvas.style.height = `${surface.height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, surface.width, surface.height);
    draw(context, surface.width, surface.height, ratio);
  };
  surface.redraw = () => {
    if (!surface.waiting) {
      surface.waiting = true;
      requestAnimationFrame(paint);
    }
  };
  surface.measure = () => {
    surface.width = Math.floor(holder.clientWidth);
    surface.height = Math.round(height(surface.width));
    surface.redraw();
  };
  new ResizeObserver(() => {
    if (Math.floor(holder.clientWidth) !== surface.width) surface.measure();
  }).observe(holder);
  backproof.recoloured(surface.redraw);
  surface.measure();
  return surface;
};

// Where a pointer is, in the canvas's own units.
backproof.place = (canvas, event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

backproof.copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // pages opened as files are refused in some browsers: the older way
    const area = backproof.make("textarea", { style: "position:fixed;opacity:0", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
};

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    button.textContent = (await backproof.copy(code.textContent)) ? "Copied" : "Press Ctrl+C";
    if (button.textContent !== "Copied") getSelection().selectAllChildren(code);
    else button.focus();
    setTimeout(() => (button.textContent = label), 2000);
  });
}

// Text and tables are painted before the pictures are made.
addEventListener("DOMContentLoaded", () => {
  requestAnimationFrame(() => setTimeout(() => {
    const data = JSON.parse(document.getElementById("data").textContent);
    for (const figure of document.querySelectorAll("[data-picture]")) {
      const stage = figure.querySelector(".stage");
      stage.replaceChildren();
      backproof.pictures[figure.dataset.picture](figure, data[figure.dataset.source]);
    }
    document.documentElement.dataset.drawn = "";
    performance.mark("drawn");
  }));
});
