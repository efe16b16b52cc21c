// A Jacobian three times: numerical, yours, the difference, in one scale of colours; below them the entry that is pointed at.
backproof.pictures.jacobian = (figure, stored) => {
  const { make, format } = backproof;
  const entries = backproof.entries(stored);
  const stage = figure.querySelector(".stage");
  const state = { own: false, power: 1 };
  let maps = null;

  const top = make("div", { class: "controls" });
  const holder = make("div");
  const bottom = make("div", { class: "controls" });
  const fields = make("div", { class: "fields", role: "status" });
  const hint = make("p", { class: "small muted" });
  stage.append(top, holder, bottom, fields, hint);

  const chooser = make("select", {}, ...entries.all.map(({ name, status }, k) => make("option", { value: k }, `${name} (${status})`)));
  chooser.addEventListener("change", () => entries.choose(Number(chooser.value)));
  const own = make("input", { type: "checkbox" });
  own.addEventListener("change", () => {
    state.own = own.checked;
    legend();
    maps.redraw();
  });
  const stronger = make("input", { type: "checkbox" });
  stronger.addEventListener("change", () => {
    state.power = stronger.checked ? 0.35 : 1;
    legend();
    maps.redraw();
  });
  const gap = make("span", { class: "gap" });

  const legend = () => {
    const { limit, gap: largest, wrong } = entries.one;
    const parts = [backproof.scale(limit, state)];
    if (state.own) parts.push(make("span", { class: "small muted" }, "difference:"), backproof.scale(largest, state));
    if (wrong.some(Boolean)) parts.push(make("span", { class: "small" }, make("span", { class: "outlined" }), "wrong"));
    const switches = [[stronger, "Strengthen small values"], [own, "Difference on its own scale"]];
    bottom.replaceChildren(...parts, make("span", { class: "gap" }), ...switches.map(([box, text]) => make("label", { class: "switch" }, box, text)));
  };

  const build = () => {
    const one = entries.one;
    maps?.remove();
    maps = backproof.maps(holder, {
      rows: one.high, columns: one.wide, wrong: one.wrong, unknown: one.unknown, point: (cell) => entries.point(cell), power: () => state.power,
      label: one.whole ? `${one.rows} outputs by ${one.columns} inputs` : `in the shape of ${one.rows === 1 ? one.name : "the output"}`,
      maps: [
        { name: "Numerical", values: one.numerical, limit: () => one.limit },
        { name: "Yours", values: one.yours, limit: () => one.limit },
        { name: "Difference", values: one.difference, limit: () => (state.own ? one.gap : one.limit) },
      ],
    });
    const wrong = one.wrong.reduce((sum, value) => sum + value, 0);
    const steps = [["Previous wrong", -1], ["Next wrong", 1]].map(([text, stride]) => {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => entries.point(entries.next(stride)));
      return button;
    });
    const zooms = maps.controls.length ? " Zoom with + and −, with Ctrl and the wheel, or with two fingers." : "";
    const shape = one.whole ? "" : `One ${one.rows === 1 ? "output: drawn in the shape of " + one.name : "input: drawn in the shape of the output"}. `;
    top.replaceChildren(
      ...(entries.all.length > 1 ? [make("label", { class: "switch" }, "Gradient of ", chooser)] : []),
      gap, ...(wrong > 1 && wrong < one.wrong.length ? steps : []), ...maps.controls,
    );
    hint.textContent = `${shape}Point at an entry, or go with the arrow keys.${zooms}`;
    legend();
  };

  const read = () => {
    const { one, cell } = entries;
    const unknown = one.unknown[cell];
    const bar = one.bars && !unknown ? ` ± ${format(one.bars[cell], 2)}` : "";
    const verdict = [["right", "right"], ["wrong", "wrong"], ["unsure", "cannot tell"]][one.state[cell]];
    const field = (name, value, kind) => make("div", {}, make("span", {}, name), make("b", { class: kind }, value));
    fields.replaceChildren(
      field("entry", `∂ ${one.output(cell)} / ∂ ${one.input(cell)}`),
      field("numerical", unknown ? "not known" : format(one.numerical[cell], 9) + bar),
      field("yours", format(one.yours[cell], 9)),
      field("difference", unknown ? "not known" : format(one.difference[cell], 4)),
      field("verdict", verdict[1], verdict[0]),
    );
  };

  entries.listen((other) => {
    if (other) build();
    maps.show(entries.cell);
    read();
  });
  backproof.recoloured(() => legend());
  build();
  maps.show(entries.cell);
  read();
};
