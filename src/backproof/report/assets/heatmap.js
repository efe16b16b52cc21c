// One heat map of a matrix: {"shape": [rows, columns], "values": array, "name", "row_label", "column_label", "row_names", "column_names"}.
backproof.pictures.heatmap = (figure, data) => {
  const { make, format } = backproof;
  const [rows, columns] = data.shape;
  const values = backproof.numbers(data.values);
  const limit = values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  const name = (names, i) => names?.[i] ?? String(i);
  const stage = figure.querySelector(".stage");
  const readout = make("p", { class: "readout", role: "status" });
  const none = new Uint8Array(rows * columns);
  const maps = backproof.maps(stage, {
    rows, columns, label: `${rows} by ${columns}`, maps: [{ name: data.name ?? "", values, limit: () => limit }], wrong: none, unknown: none,
    point: (cell) => {
      maps.show(cell);
      const [r, c] = [Math.floor(cell / columns), cell % columns];
      readout.textContent = `${data.row_label ?? "row"} ${name(data.row_names, r)}, ${data.column_label ?? "column"} ${name(data.column_names, c)}: ${format(values[cell])}`;
    },
  });
  const sequential = values.every((value) => !(value < 0));
  stage.append(make("div", { class: "controls" }, backproof.scale(limit, { sequential }), make("span", { class: "gap" }), ...maps.controls), readout);
};
