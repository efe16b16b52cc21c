// The Jacobians of a check, decoded once; which of them and which entry is looked at is shared by all pictures of them.
{
  const { numbers } = backproof;
  let shared = null;

  const index = (flat, shape) => {
    const parts = [];
    for (const size of [...shape].reverse()) {
      parts.unshift(flat % size);
      flat = Math.floor(flat / size);
    }
    return parts.length ? `[${parts.join(", ")}]` : "";
  };

  // Where entry `flat` of arrays laid end to end is: y[0, 2], or y1[0, 2] where there are several.
  const place = (name, flat, shapes) => {
    for (const [k, shape] of shapes.entries()) {
      const size = shape.reduce((a, b) => a * b, 1);
      if (flat < size) return (shapes.length > 1 ? name + k : name) + index(flat, shape);
      flat -= size;
    }
    return `${name}[${flat}]`;
  };

  const opened = (stored) => {
    const numerical = numbers(stored.numerical);
    const yours = numbers(stored.yours);
    const bars = stored.bars ? numbers(stored.bars) : null;
    const unknown = Uint8Array.from(numerical, (_, i) => (bars && bars[i] === Infinity ? 1 : 0));
    const state = numbers(stored.state); // 0 right, 1 wrong, 2 cannot tell
    const { rows, columns } = stored;
    return {
      ...stored, numerical, yours, bars, unknown, state,
      wrong: state.map((one) => (one === 1 ? 1 : 0)),
      difference: yours.map((value, i) => value - numerical[i]),
      output: (cell) => place("y", Math.floor(cell / columns), stored.outputs),
      input: (cell) => place(stored.name, cell % columns, [stored.shape]),
      // one output: its gradient has the input's own rows and columns; one input: those of the output
      ...view(rows, columns, rows === 1 ? stored.shape : columns === 1 && stored.outputs.length === 1 ? stored.outputs[0] : []),
    };
  };
  const view = (rows, columns, shape) => {
    if (shape.length < 2) return { high: rows, wide: columns, whole: true };
    const wide = shape[shape.length - 1];
    return { high: (rows * columns) / wide, wide, whole: false };
  };

  const largest = (values, skip) => {
    let most = 0;
    for (let i = 0; i < values.length; i++) {
      const size = Math.abs(values[i]);
      if (size > most && size < Infinity && !skip[i]) most = size;
    }
    return most;
  };

  backproof.entries = (stored) => {
    if (shared) return shared;
    const listeners = [];
    const all = stored.map(() => null);
    shared = {
      all: stored,
      chosen: 0,
      cell: -1,
      get one() {
        const k = this.chosen;
        if (!all[k]) {
          all[k] = opened(stored[k]);
          all[k].limit = Math.max(largest(all[k].numerical, all[k].unknown), largest(all[k].yours, all[k].unknown)) || 1;
          all[k].gap = largest(all[k].difference, all[k].unknown) || 1;
        }
        return all[k];
      },
      listen: (heard) => listeners.push(heard),
      choose(k) {
        this.chosen = k;
        this.cell = this.worst();
        listeners.forEach((heard) => heard(true));
      },
      point(cell) {
        if (cell === this.cell || cell < 0) return;
        this.cell = cell;
        listeners.forEach((heard) => heard(false));
      },
      // The wrong entry with the largest difference; where none is wrong, the largest entry.
      worst() {
        const { wrong, difference, numerical, unknown } = this.one;
        let best = -1;
        let most = -1;
        for (const values of [difference, numerical]) {
          for (let i = 0; i < wrong.length; i++) {
            if (values === difference ? !wrong[i] : unknown[i]) continue;
            const size = Number.isFinite(values[i]) ? Math.abs(values[i]) : Infinity;
            if (size > most) [most, best] = [size, i];
          }
          if (best >= 0) return best;
        }
        return 0;
      },
      // The next wrong entry after this one, or before it; round and round.
      next(stride) {
        const { wrong } = this.one;
        const count = wrong.length;
        for (let k = 1; k <= count; k++) {
          const cell = (this.cell + stride * k + count * 2) % count;
          if (wrong[cell]) return cell;
        }
        return this.cell;
      },
    };
    shared.cell = shared.worst();
    return shared;
  };
}
