// Lines over a common x (epochs): each can be hidden; the vertical axis may be logarithmic; pointer and arrow keys read values.
backproof.pictures.curves = (figure, data) => {
  const { make, format, colour } = backproof;
  const x = backproof.numbers(data.x);
  const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4]];
  const series = data.series.map((one, i) => ({
    name: one.name, values: backproof.numbers(one.values), shown: true, colour: `series-${(i % 6) + 1}`,
    dash: x.length > 800 ? [] : dashes[i % 6], // of dense, jagged lines dashes are only noise
  }));
  const positive = series.every(({ values }) => values.every((value) => !Number.isFinite(value) || value > 0));
  const xLabel = data.x_label ?? "epoch";
  const state = { log: Boolean(data.log) && positive, at: -1 };

  const stage = figure.querySelector(".stage");
  const legend = make("div", { class: "legend", role: "group", "aria-label": "Curves shown" });
  for (const one of series) {
    const box = make("input", { type: "checkbox", checked: true });
    const key = make("span", { class: "key", style: `border-color: var(--${one.colour}); border-top-style: ${one.dash.length ? "dashed" : "solid"}` });
    box.addEventListener("change", () => {
      one.shown = box.checked;
      surface.redraw();
      read();
    });
    legend.append(make("label", { class: "switch" }, box, key, one.name));
  }
  const logs = make("input", { type: "checkbox", checked: state.log, disabled: !positive });
  logs.addEventListener("change", () => {
    state.log = logs.checked;
    surface.redraw();
  });
  const scale = make("label", { class: "switch" }, logs, "Logarithmic");
  stage.append(make("div", { class: "controls" }, legend, make("span", { class: "gap" }), scale));
  const plot = make("div", {
    class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart",
    "aria-label": `${data.y_label ?? "values"} over ${xLabel}: left and right arrow keys read the values`,
  });
  const readout = make("p", { class: "readout", role: "status" });
  stage.append(plot, readout);

  // The extent of what is shown; a little room above and below.
  const extent = () => {
    let low = Infinity;
    let high = -Infinity;
    for (const { values, shown } of series) {
      if (!shown) continue;
      for (const value of values) {
        if (value < low && value !== -Infinity) low = value;
        if (value > high && value !== Infinity) high = value;
      }
    }
    if (low > high) return [0.1, 1];
    if (state.log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  };

  // Where several points share a column of pixels, its lowest and highest stand for all: no peak is lost, and 5,000 epochs cost as 500.
  const trace = (context, plane, values) => {
    context.beginPath();
    let open = false;
    let i = 0;
    while (i < x.length) {
      const column = Math.round(plane.x(x[i]));
      let low = Infinity;
      let high = -Infinity;
      let last = NaN;
      let first = NaN;
      for (; i < x.length && Math.round(plane.x(x[i])) === column; i++) {
        const value = values[i];
        if (!Number.isFinite(value)) continue;
        if (Number.isNaN(first)) first = value;
        last = value;
        if (value < low) low = value;
        if (value > high) high = value;
      }
      if (Number.isNaN(first)) {
        open = false;
        continue;
      }
      if (!open) context.moveTo(column, plane.y(first));
      open = true;
      for (const value of low === high ? [first] : [first, low, high, last]) context.lineTo(column, plane.y(value));
    }
    context.stroke();
  };

  let plane = null;
  const rule = (context, value, dash, name) => {
    context.strokeStyle = colour(name);
    context.lineWidth = 1;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(plane.x(value), plane.box.top);
    context.lineTo(plane.x(value), plane.box.bottom);
    context.stroke();
    context.setLineDash([]);
  };
  const lines = (context, width, height) => {
    const span = x.length > 1 ? [x[0], x[x.length - 1]] : [x[0] - 1, x[0] + 1];
    plane = backproof.plane(context, width, height, { x: span, y: extent(), log: state.log, xLabel, yLabel: data.y_label, whole: data.x_whole ?? true });
    if (data.best) {
      rule(context, data.best.x, [3, 3], "muted");
      const at = plane.x(data.best.x);
      const onLeft = at > (plane.box.left + plane.box.right) / 2;
      context.fillStyle = colour("muted");
      context.textAlign = onLeft ? "right" : "left";
      context.textBaseline = "top";
      context.fillText(`${data.best.label ?? "best"} ${format(data.best.x)}`, at + (onLeft ? -6 : 6), plane.box.top - (data.y_label ? 18 : -2));
    }
    context.lineJoin = "round";
    plane.clip(() => {
      for (const one of series) {
        if (!one.shown) continue;
        context.strokeStyle = colour(one.colour);
        context.lineWidth = x.length > 800 ? 1.25 : 2;
        context.setLineDash(one.dash);
        trace(context, plane, one.values);
        context.setLineDash([]);
      }
    });
  };

  // While the pointer moves, the lines stay: they are painted once, and copied under what moves.
  let still = null;
  const surface = backproof.surface(plot, (width) => Math.max(220, Math.min(380, width * 0.45)), (context, width, height, ratio) => {
    const { canvas } = context;
    const looks = [width, height, ratio, backproof.dark(), state.log, ...series.map(({ shown }) => shown)].join();
    if (still?.looks === looks) {
      context.save();
      context.resetTransform();
      context.drawImage(still.image, 0, 0);
      context.restore();
    } else {
      lines(context, width, height);
      still = { looks, image: make("canvas", { width: canvas.width, height: canvas.height }) };
      still.image.getContext("2d").drawImage(canvas, 0, 0);
    }
    const i = x.length === 1 ? 0 : state.at;
    if (i < 0) return;
    for (const one of series) {
      if (!one.shown || !Number.isFinite(one.values[i])) continue;
      context.fillStyle = colour(one.colour);
      context.beginPath();
      context.arc(plane.x(x[i]), plane.y(one.values[i]), 4, 0, 7);
      context.fill();
    }
    if (state.at >= 0) rule(context, x[i], [], "ink");
  });

  const read = () => {
    const i = state.at;
    const told = series.filter(({ shown }) => shown).map(({ name, values }) => `${name} ${format(values[i], 5)}`);
    readout.textContent = i < 0 ? "" : `${xLabel} ${format(x[i])}: ${told.join(", ")}`;
  };
  const point = (i) => {
    const at = Math.max(-1, Math.min(x.length - 1, i));
    if (at === state.at) return;
    state.at = at;
    surface.redraw();
    read();
  };
  const nearest = (value) => {
    let low = 0;
    let high = x.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (x[middle] <= value) low = middle;
      else high = middle;
    }
    return value - x[low] <= x[high] - value ? low : high;
  };
  const follow = (event) => plane && point(nearest(plane.back(backproof.place(surface.canvas, event)[0])));
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && document.activeElement !== plot && point(-1));
  plot.addEventListener("keydown", (event) => {
    const stride = event.shiftKey ? Math.max(1, Math.round(x.length / 50)) : 1;
    const to = { ArrowLeft: Math.max(0, state.at - stride), ArrowRight: state.at + stride, Home: 0, End: x.length - 1, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(to);
  });
};
