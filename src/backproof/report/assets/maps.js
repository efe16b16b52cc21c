// Heat maps of one shape side by side, with one view: what is zoomed or pointed at in one is in all.
//
// backproof.maps(stage, {rows, columns, label, maps: [{name, values, limit}], wrong, unknown, point, power}) -> {show(cell), redraw(), ...}
// values: numbers row by row; limit(): the number with the strongest colour; wrong, unknown: a byte a cell, outlined and grey;
// power(): below 1 strengthens the colours of small numbers. point(cell): called when a cell is pointed at, by pointer, tap or arrow keys.
{
  const ROOM = 60; // pixels of a cell at the closest
  const { make, format, colour } = backproof;

  // First cell, and one past the last, under each of `count` pixels.
  const cellsUnder = (count, start, perPixel, cells) => {
    const first = new Int32Array(count);
    const past = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      first[i] = Math.min(cells - 1, Math.floor(start + (i + 1e-6) * perPixel));
      past[i] = Math.min(cells, Math.max(first[i] + 1, Math.floor(start + (i + 1) * perPixel)));
    }
    return [first, past];
  };

  // How many pixels lie between each pixel and the beginning, and the end, of its cell: up to `most`, and of those in view.
  const edges = (first, start, perPixel, most) => {
    const count = first.length;
    const before = new Int32Array(count);
    const after = new Int32Array(count);
    const beyond = (share) => Math.min(most, Math.max(0, Math.round(share / perPixel)));
    for (let i = 0; i < count; i++) {
      if (i > 0 && first[i] === first[i - 1]) before[i] = Math.min(most, before[i - 1] + 1);
      else before[i] = i === 0 ? beyond(start - first[0]) : 0;
    }
    for (let i = count - 1; i >= 0; i--) {
      if (i < count - 1 && first[i] === first[i + 1]) after[i] = Math.min(most, after[i + 1] + 1);
      else after[i] = i === count - 1 ? beyond(first[i] + 1 - (start + count * perPixel)) : 0;
    }
    return [before, after];
  };

  // The picture pixel by pixel: its cost is that of the screen, not of the matrix, and outlines are as sharp as the screen is.
  const paint = (image, view, grid, words, ratio) => {
    const { width, height } = image;
    const { rows, columns, wrong } = grid;
    const out = new Uint32Array(image.data.buffer);
    const [wide, high] = [width / view.columns, height / view.rows]; // pixels of a cell
    const small = Math.min(wide, high);
    const border = Math.max(1, Math.min(Math.round(1.5 * ratio), Math.floor(small / 4)));
    const halo = small >= 12 * ratio ? Math.round(ratio) : 0;
    const line = small >= 6 * ratio ? 1 : 0;
    const [ink, ground] = [backproof.word(colour("ink")), backproof.word(colour("surface"))];
    const [firstColumn, pastColumn] = cellsUnder(width, view.x, 1 / wide, columns);
    const [firstRow, pastRow] = cellsUnder(height, view.y, 1 / high, rows);
    const [left, right] = edges(firstColumn, view.x, 1 / wide, border + halo);
    const [above, below] = edges(firstRow, view.y, 1 / high, border + halo);
    const many = wide < 1 || high < 1; // several cells share a pixel: a wrong one stands for all
    // around cells of a pixel or two there is no room for outlines: where many are wrong, they would be all that is seen
    const outlined = small >= 3 || grid.share <= 0.05;
    for (let y = 0; y < height; y++) {
      const start = y * width;
      if (!many && y > 0 && firstRow[y] === firstRow[y - 1] && above[y] === above[y - 1] && below[y] === below[y - 1]) {
        out.copyWithin(start, start - width, start);
        continue;
      }
      const row = firstRow[y];
      for (let x = 0; x < width; x++) {
        let column = firstColumn[x];
        let cell = row * columns + column;
        if (many) {
          search: for (let r = row; r < pastRow[y]; r++) {
            for (let c = column; c < pastColumn[x]; c++) {
              if (wrong[r * columns + c]) {
                cell = r * columns + c;
                break search;
              }
            }
          }
        }
        let word = words[cell];
        if (line && (right[x] === 0 || below[y] === 0)) word = ground;
        if (outlined && wrong[cell]) {
          const [u, d] = [cell - columns, cell + columns];
          const r = many ? Math.floor(cell / columns) : row;
          column = cell - r * columns;
          // how near the next cell is that is not wrong: straight on, or over a corner
          let near = border + halo;
          if (left[x] < near && !(column > 0 && wrong[cell - 1])) near = left[x];
          if (right[x] < near && !(column < columns - 1 && wrong[cell + 1])) near = right[x];
          if (above[y] < near && !(r > 0 && wrong[u])) near = above[y];
          if (below[y] < near && !(r < rows - 1 && wrong[d])) near = below[y];
          const corner = (h, v, ok) => {
            const far = Math.max(h, v);
            if (far < near && !ok) near = far;
          };
          if (near > 0) {
            corner(left[x], above[y], column > 0 && r > 0 && wrong[u - 1]);
            corner(right[x], above[y], column < columns - 1 && r > 0 && wrong[u + 1]);
            corner(left[x], below[y], column > 0 && r < rows - 1 && wrong[d - 1]);
            corner(right[x], below[y], column < columns - 1 && r < rows - 1 && wrong[d + 1]);
          }
          if (near < border) word = ink;
          else if (near < border + halo) word = ground;
        }
        out[start + x] = word;
      }
    }
  };

  backproof.maps = (stage, { rows, columns, label, maps, wrong, unknown, point, power = () => 1 }) => {
    const grid = { rows, columns, wrong, share: wrong.reduce((sum, bad) => sum + bad, 0) / wrong.length };
    const view = { x: 0, y: 0, columns, rows, zoom: 1 };
    let at = -1;
    const holder = make("div", { class: "maps" });
    stage.append(holder);
    const few = columns * 120; // cells of a small matrix do not grow without end

    const drawn = maps.map(({ name, values, limit }) => {
      const plot = make("div", {
        class: "plot", tabindex: "0", role: "application", "aria-roledescription": "heat map",
        "aria-label": `${name}, ${label}. Arrow keys go from entry to entry.`,
      });
      holder.append(make("div", { class: "map", style: `max-width: ${few}px` }, make("p", { class: "name" }, name), plot));
      const one = { plot, values, limit, image: null, words: new Uint32Array(rows * columns), colours: "", key: "" };
      const tall = (width) => Math.max(36, Math.min(width * 1.1, (width * rows) / columns));
      one.surface = backproof.surface(plot, tall, (context, width, height, ratio) => {
        const { canvas } = one.surface;
        const colours = [limit(), power(), backproof.dark()].join();
        if (colours !== one.colours) {
          const table = backproof.palette();
          const grey = backproof.word(colour("line"));
          const [largest, exponent] = [limit(), power()];
          for (let i = 0; i < values.length; i++) {
            one.words[i] = unknown[i] || !Number.isFinite(values[i]) ? grey : table[backproof.shade(values[i], largest, exponent)];
          }
          one.colours = colours;
        }
        const key = [colours, canvas.width, canvas.height, view.x, view.y, view.columns].join();
        if (key !== one.key) {
          if (!one.image || one.image.width !== canvas.width || one.image.height !== canvas.height) {
            one.image = context.createImageData(canvas.width, canvas.height);
          }
          paint(one.image, view, grid, one.words, ratio);
          one.key = key;
        }
        context.putImageData(one.image, 0, 0);
        over(context, one, width, height);
      });
      return one;
    });

    // What lies over the colours: numbers where there is room, and the cell that is pointed at.
    const over = (context, one, width, height) => {
      const [wide, high] = [width / view.columns, height / view.rows];
      const tiny = 1e-9 * Math.max(...drawn.map(({ limit }) => limit())); // what rounding leaves of a difference
      const short = (value) => (Math.abs(value) <= tiny ? "0" : format(value, 3));
      if (wide >= 46 && high >= 18) {
        context.font = `${wide < 60 ? 11 : 12.5}px system-ui, sans-serif`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        for (let r = Math.floor(view.y); r < Math.min(rows, view.y + view.rows); r++) {
          for (let c = Math.floor(view.x); c < Math.min(columns, view.x + view.columns); c++) {
            const cell = r * columns + c;
            context.fillStyle = backproof.inkOn(one.words[cell]);
            context.fillText(unknown[cell] ? "?" : short(one.values[cell]), (c - view.x + 0.5) * wide, (r - view.y + 0.5) * high, wide - 8);
          }
        }
      }
      if (at < 0) return;
      const [r, c] = [Math.floor(at / columns), at % columns];
      const [x, y] = [(c - view.x) * wide, (r - view.y) * high];
      const accent = colour("accent");
      if (Math.min(wide, high) < 14) {
        context.fillStyle = accent;
        context.globalAlpha = 0.55;
        const [cx, cy] = [x + wide / 2, y + high / 2];
        for (const [a, b] of [[0, x - 3], [x + wide + 3, width]]) context.fillRect(a, cy - 0.5, Math.max(0, b - a), 1);
        for (const [a, b] of [[0, y - 3], [y + high + 3, height]]) context.fillRect(cx - 0.5, a, 1, Math.max(0, b - a));
        context.globalAlpha = 1;
      }
      const grow = Math.max(0, (7 - Math.min(wide, high)) / 2);
      for (const [style, thick] of [[colour("surface"), 5], [accent, 3]]) {
        context.strokeStyle = style;
        context.lineWidth = thick;
        context.strokeRect(x - grow, y - grow, wide + 2 * grow, high + 2 * grow);
      }
    };
    const redraw = () => drawn.forEach(({ surface }) => surface.redraw());

    const deepest = () => Math.max(1, (Math.max(columns, rows) * ROOM) / Math.max(200, drawn[0].surface.width));
    const clamp = () => {
      view.columns = columns / view.zoom;
      view.rows = rows / view.zoom;
      view.x = Math.max(0, Math.min(columns - view.columns, view.x));
      view.y = Math.max(0, Math.min(rows - view.rows, view.y));
      for (const { plot } of drawn) plot.style.touchAction = deepest() === 1 ? "auto" : view.zoom > 1 ? "none" : "pan-x pan-y";
    };
    // Zoom by a factor; the cell under (across, down), shares of the view, stays where it is.
    const zoom = (factor, across = 0.5, down = 0.5) => {
      const [x, y] = [view.x + across * view.columns, view.y + down * view.rows];
      view.zoom = Math.max(1, Math.min(deepest(), view.zoom * factor));
      view.x = x - (across * columns) / view.zoom;
      view.y = y - (down * rows) / view.zoom;
      clamp();
      redraw();
    };
    const show = (cell) => {
      at = cell;
      const [r, c] = [Math.floor(cell / columns), cell % columns];
      // a cell cut by the edge is in view: if the map moved under the pointer, it would never come to rest
      if (c + 1 <= view.x || c >= view.x + view.columns) view.x = c + 0.5 - view.columns / 2;
      if (r + 1 <= view.y || r >= view.y + view.rows) view.y = r + 0.5 - view.rows / 2;
      clamp();
      redraw();
    };
    const centre = () => (at < 0 ? [0.5, 0.5] : [(at % columns + 0.5 - view.x) / view.columns, (Math.floor(at / columns) + 0.5 - view.y) / view.rows]);

    for (const { plot, surface } of drawn) {
      const share = (event) => {
        const [x, y] = backproof.place(surface.canvas, event);
        return [x / surface.width, y / surface.height];
      };
      const under = ([across, down]) => {
        const c = Math.max(0, Math.min(columns - 1, Math.floor(view.x + across * view.columns)));
        const r = Math.max(0, Math.min(rows - 1, Math.floor(view.y + down * view.rows)));
        return r * columns + c;
      };
      const fingers = new Map();
      plot.addEventListener("pointerdown", (event) => {
        fingers.set(event.pointerId, share(event));
        point(under(share(event)));
      });
      plot.addEventListener("pointermove", (event) => {
        const now = share(event);
        const before = fingers.get(event.pointerId);
        if (!before) return event.pointerType === "mouse" && point(under(now));
        const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
        if (other) {
          const spread = ([x, y]) => Math.hypot((x - other[0]) * surface.width, (y - other[1]) * surface.height);
          zoom(spread(now) / Math.max(1, spread(before)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        } else if (view.zoom > 1) {
          view.x -= (now[0] - before[0]) * view.columns;
          view.y -= (now[1] - before[1]) * view.rows;
          clamp();
          redraw();
        }
        fingers.set(event.pointerId, now);
      });
      for (const end of ["pointerup", "pointercancel", "pointerleave"]) plot.addEventListener(end, (event) => fingers.delete(event.pointerId));
      plot.addEventListener("wheel", (event) => {
        // the wheel scrolls the page unless the map is meant: it has the focus, or Ctrl (a pinch on a trackpad) is held
        const meant = event.ctrlKey || event.metaKey || (document.activeElement === plot && (view.zoom > 1 || event.deltaY < 0));
        if (deepest() === 1 || !meant) return;
        event.preventDefault();
        zoom(1.0018 ** -event.deltaY, ...share(event));
      }, { passive: false });
      plot.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const [r, c] = at < 0 ? [0, 0] : [Math.floor(at / columns), at % columns];
        const stride = event.shiftKey ? 10 : 1;
        const to = {
          ArrowLeft: [r, c - stride], ArrowRight: [r, c + stride], ArrowUp: [r - stride, c], ArrowDown: [r + stride, c],
          Home: [r, 0], End: [r, columns - 1], PageUp: [0, c], PageDown: [rows - 1, c],
        }[event.key];
        if (to) point(Math.max(0, Math.min(rows - 1, to[0])) * columns + Math.max(0, Math.min(columns - 1, to[1])));
        else if (event.key === "+" || event.key === "=") zoom(1.5, ...centre());
        else if (event.key === "-") zoom(1 / 1.5, ...centre());
        else if (event.key === "0") zoom(0);
        else return;
        event.preventDefault();
      });
    }
    clamp();
    const buttons = [["−", "Zoom out", () => zoom(1 / 1.6, ...centre())], ["+", "Zoom in", () => zoom(1.6, ...centre())], ["Fit", "Show all", () => zoom(0)]];
    const controls = buttons.map(([text, title, act]) => {
      const button = make("button", { type: "button", title, "aria-label": title }, text);
      button.addEventListener("click", act);
      return button;
    });
    return { show, redraw, zoom, view, controls: Math.max(rows, columns) > 12 ? controls : [], remove: () => holder.remove() };
  };
}
