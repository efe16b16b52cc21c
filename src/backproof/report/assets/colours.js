// Colours of numbers: blue above zero, orange below, the page's own ground at zero; told apart with any kind of colour vision.
{
  const STOPS = {
    light: [[-1, "#7a3300"], [-0.5, "#d87a2c"], [0, "#fafafa"], [0.5, "#4a93cf"], [1, "#0a3f7d"]],
    dark: [[-1, "#ffbe80"], [-0.5, "#b0601c"], [0, "#22272c"], [0.5, "#2c73b0"], [1, "#9ad6ff"]],
  };
  const STEPS = 512;
  const tables = {};

  const parts = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

  backproof.word = (colour) => {
    const [r, g, b] = parts(colour);
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0; // as the bytes of an image lie: little-endian
  };

  // Colours of the numbers from -1 to 1, as words of an image: table[(value + 1) / 2 * 512].
  backproof.palette = () => {
    const scheme = backproof.dark() ? "dark" : "light";
    if (tables[scheme]) return tables[scheme];
    const stops = STOPS[scheme].map(([at, colour]) => [at, parts(colour)]);
    tables[scheme] = Uint32Array.from({ length: STEPS + 1 }, (_, k) => {
      const value = (k / STEPS) * 2 - 1;
      const upper = Math.max(1, stops.findIndex(([at]) => at >= value));
      const [[a, from], [b, to]] = [stops[upper - 1], stops[upper]];
      const share = (value - a) / (b - a);
      const [red, green, blue] = from.map((one, i) => Math.round(one + (to[i] - one) * share));
      return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
    });
    return tables[scheme];
  };

  // The place of a number in the palette; a power below 1 strengthens small ones.
  backproof.shade = (value, limit, power = 1) => {
    const share = limit > 0 ? Math.max(-1, Math.min(1, value / limit)) : 0;
    return Math.round(((power === 1 ? share : Math.sign(share) * Math.abs(share) ** power) + 1) * (STEPS / 2));
  };

  // Black or white, whichever is read better on it: at least 4.5 to 1.
  backproof.inkOn = (word) => {
    const linear = [word & 255, (word >> 8) & 255, (word >> 16) & 255].map((v) => (v <= 10 ? v / 3295 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000000" : "#ffffff";
  };

  // The scale as a strip with its numbers.
  backproof.scale = (limit, { power = 1 } = {}) => {
    const label = `Colours from ${backproof.format(-limit, 3)} to ${backproof.format(limit, 3)}`;
    const holder = backproof.make("div", { class: "scale", role: "img", "aria-label": label });
    const strip = backproof.make("canvas", { width: 256, height: 1 });
    const ends = [-limit, 0, limit].map((end) => backproof.format(end, 3));
    holder.append(strip, backproof.make("div", { class: "figures" }, ...ends.map((end) => backproof.make("span", {}, end))));
    const context = strip.getContext("2d");
    const image = context.createImageData(256, 1);
    const words = new Uint32Array(image.data.buffer);
    const table = backproof.palette();
    for (let i = 0; i < 256; i++) words[i] = table[backproof.shade(i / 127.5 - 1, 1, power)];
    context.putImageData(image, 0, 0);
    return holder;
  };
}
