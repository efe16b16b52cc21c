// Axes with ticks: plane(context, box, {x: [low, high], y: [low, high], log, xLabel, yLabel, whole}) -> {x(value), y(value), ...}.
{
  const round = (span, count) => {
    const raw = span / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].find((k) => k * power >= raw * 0.999) * power;
  };

  backproof.ticks = (low, high, count, whole = false) => {
    let step = round(high - low, count);
    if (whole) step = Math.max(1, Math.round(step));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  };

  // Powers of ten; with 2 and 5 between them where there are few.
  backproof.logTicks = (low, high, count) => {
    const first = Math.floor(Math.log10(low));
    const last = Math.ceil(Math.log10(high));
    const stride = Math.max(1, Math.ceil((last - first) / count));
    const factors = last - first <= 3 ? [1, 2, 5] : [1];
    const found = [];
    for (let k = first; k <= last; k += stride) for (const f of factors) found.push(Number(`${f}e${k}`));
    const within = found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    return within.length < 3 ? backproof.ticks(low, high, count) : within; // less than a decade: round numbers tell more
  };

  backproof.plane = (context, width, height, { x, y, log = false, xLabel = "", yLabel = "", whole = false }) => {
    const ink = backproof.colour("ink");
    const muted = backproof.colour("muted");
    const line = backproof.colour("line");
    context.font = "12px system-ui, sans-serif";
    const rows = Math.max(2, Math.round(height / 40));
    const yTicks = log ? backproof.logTicks(y[0], y[1], rows) : backproof.ticks(y[0], y[1], rows);
    const labels = yTicks.map((value) => backproof.format(value, 4));
    const left = Math.ceil(Math.max(20, ...labels.map((text) => context.measureText(text).width))) + 12;
    const box = { left, right: width - 14, top: yLabel ? 26 : 10, bottom: height - (xLabel ? 42 : 24) };
    const level = log ? Math.log : (value) => value;
    const [low, high] = y.map(level);
    const plane = {
      box,
      x: (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (box.right - box.left),
      y: (value) => box.bottom - ((level(value) - low) / (high - low)) * (box.bottom - box.top),
      back: (pixel) => x[0] + ((pixel - box.left) / (box.right - box.left)) * (x[1] - x[0]),
      clip: (paint) => {
        context.save();
        context.beginPath();
        context.rect(box.left - 1, box.top - 1, box.right - box.left + 2, box.bottom - box.top + 2);
        context.clip();
        paint();
        context.restore();
      },
    };
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    yTicks.forEach((value, i) => {
      const at = Math.round(plane.y(value)) + 0.5;
      context.strokeStyle = line;
      context.beginPath();
      context.moveTo(box.left, at);
      context.lineTo(box.right, at);
      context.stroke();
      context.fillStyle = muted;
      context.fillText(labels[i], box.left - 8, at);
    });
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const value of backproof.ticks(x[0], x[1], Math.max(2, Math.round((box.right - box.left) / 75)), whole)) {
      const at = Math.round(plane.x(value)) + 0.5;
      context.strokeStyle = line;
      context.beginPath();
      context.moveTo(at, box.bottom);
      context.lineTo(at, box.bottom + 5);
      context.stroke();
      context.fillStyle = muted;
      context.fillText(backproof.format(value, 6), at, box.bottom + 8);
    }
    context.fillStyle = ink;
    if (xLabel) context.fillText(xLabel, (box.left + box.right) / 2, height - 15);
    context.textAlign = "left";
    if (yLabel) context.fillText(yLabel, 4, 2);
    return plane;
  };
}
