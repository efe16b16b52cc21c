// Your entries against the numerical ones, with error bars and the line y = x.
backproof.pictures.scatter = (figure, stored) => {
  const { make, format, colour } = backproof;
  const entries = backproof.entries(stored);
  const stage = figure.querySelector(".stage");
  const plot = make("div", { class: "plot scatter", "aria-hidden": "true" });
  const legend = make("div", { class: "controls small" });
  stage.append(legend, plot);
  let plane = null;
  let dots = [];

  const span = (one) => {
    let low = 0;
    let high = 0;
    for (const values of [one.numerical, one.yours]) {
      for (let i = 0; i < values.length; i++) {
        if (one.unknown[i] || !Number.isFinite(values[i])) continue;
        if (values[i] < low) low = values[i];
        if (values[i] > high) high = values[i];
      }
    }
    const room = (high - low) * 0.06 || 1;
    return [low - room, high + room];
  };

  const line = (context, slope, name, dash) => {
    context.strokeStyle = colour(name);
    context.setLineDash(dash);
    context.lineWidth = 1.5;
    context.beginPath();
    const [low, high] = one.span;
    context.moveTo(plane.x(low), plane.y(slope * low));
    context.lineTo(plane.x(high), plane.y(slope * high));
    context.stroke();
    context.setLineDash([]);
  };

  let one = null;
  const take = () => {
    one = entries.one;
    one.span ??= span(one);
    const key = (name, text, style = "dot") => make("span", {}, make("span", { class: `mark ${style}`, style: `--mark: var(--${name})` }), text);
    const kinds = [key("series-1", "right"), key("series-2", "wrong", "square"), key("series-5", "cannot tell")];
    const parts = [...kinds.filter((_, state) => one.state.includes(state)), key("muted", "y = x", "line")];
    if (one.factor !== null && one.factor !== 1) parts.push(key("series-2", `y = ${format(one.factor, 4)} x`, "line dashed"));
    const lost = one.numerical.reduce((sum, value, i) => sum + !(Number.isFinite(value) && Number.isFinite(one.yours[i]) && !one.unknown[i]), 0);
    if (lost) parts.push(make("span", { class: "muted" }, `${lost.toLocaleString("en")} without a finite value: not drawn`));
    legend.replaceChildren(...parts);
  };
  take();

  // Points that fall on one pixel are one point: hundreds of thousands of entries cost no more than the screen has room for.
  const collect = () => {
    const taken = new Map();
    for (const state of [2, 0, 1]) {
      for (let i = 0; i < one.state.length; i++) {
        if (one.state[i] !== state || one.unknown[i] || !Number.isFinite(one.yours[i])) continue;
        const [x, y] = [plane.x(one.numerical[i]), plane.y(one.yours[i])];
        const key = Math.round(x) * 65536 + Math.round(y);
        if (taken.get(key)?.state !== state) taken.set(key, { x, y, state, cell: i });
      }
    }
    dots = [...taken.values()];
  };

  // The points on a canvas of their own: it is made anew when they change, not when another entry is pointed at.
  const layer = make("canvas");
  const dotted = (width, height, ratio) => {
    layer.width = Math.round(width * ratio);
    layer.height = Math.round(height * ratio);
    const context = layer.getContext("2d");
    context.scale(ratio, ratio);
    const crowd = dots.length > 3000;
    const inks = ["series-1", "series-2", "series-5"].map(colour);
    for (const { x, y, state, cell } of dots) {
      context.strokeStyle = context.fillStyle = inks[state];
      context.lineWidth = 1.5;
      bars(context, x, y, cell);
      if (crowd) context.fillRect(x - 1, y - 1, 2, 2);
      else if (state === 1) context.fillRect(x - 3, y - 3, 6, 6);
      else {
        context.beginPath();
        context.arc(x, y, 3, 0, 7);
        context.stroke();
      }
    }
  };

  let key = "";
  const surface = backproof.surface(plot, (width) => Math.min(width, 440), (context, width, height, ratio) => {
    plane = backproof.plane(context, width, height, { x: one.span, y: one.span, xLabel: "numerical", yLabel: "yours" });
    const now = [width, height, ratio, entries.chosen, backproof.dark()].join();
    if (now !== key) {
      key = now;
      collect();
      dotted(width, height, ratio);
    }
    plane.clip(() => {
      line(context, 1, "muted", []);
      if (one.factor !== null && one.factor !== 1) line(context, one.factor, "series-2", [6, 4]);
      context.drawImage(layer, 0, 0, width, height);
      const { cell } = entries;
      if (cell < 0 || one.unknown[cell]) return;
      context.strokeStyle = colour("accent");
      context.lineWidth = 3;
      context.beginPath();
      context.arc(plane.x(one.numerical[cell]), plane.y(one.yours[cell]), 8, 0, 7);
      context.stroke();
    });
  });

  // The bar of the numerical value, where it is wide enough to be seen.
  const bars = (context, x, y, cell) => {
    if (!one.bars) return;
    const half = plane.x(one.bars[cell]) - plane.x(0);
    if (!(half > 3.5)) return;
    context.beginPath();
    context.moveTo(x - half, y);
    context.lineTo(x + half, y);
    for (const end of [x - half, x + half]) {
      context.moveTo(end, y - 4);
      context.lineTo(end, y + 4);
    }
    context.stroke();
  };

  const follow = (event) => {
    const [x, y] = backproof.place(surface.canvas, event);
    let best = null;
    let near = 24 ** 2;
    for (const dot of dots) {
      const away = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (away < near) [near, best] = [away, dot];
    }
    if (best) entries.point(best.cell);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  entries.listen((other) => {
    if (other) take();
    read();
    surface.redraw();
  });
  const readout = make("p", { class: "readout" });
  stage.append(readout);
  const read = () => {
    const { cell } = entries;
    const bar = one.bars ? ` ± ${format(one.bars[cell], 2)}` : "";
    readout.textContent = one.unknown[cell] ? "" : `∂ ${one.output(cell)} / ∂ ${one.input(cell)}: numerical ${format(one.numerical[cell], 7)}${bar}, yours ${format(one.yours[cell], 7)}`;
  };
  read();
};
