"use strict";
const spec = SADDLEPOINT_MODEL.description, element = (id) => document.getElementById(id);
const graphs = Object.fromEntries(spec.graphs.map((graph) => [graph.name, graph]));
const sessions = {};
let ort, said = "", shown = null, picture = null, alone = null, busy = false, wanted = null;

const numbers = spec.shape.reduce((a, b) => a * b, 1);
// Samples in one call of the runtime: while it computes the page stands still.
const part = Math.max(1, Math.floor(16 * 3 * 64 * 64 / numbers));

function bytes(text) {
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) found[i] = letters.charCodeAt(i);
  return found;
}

// A small generator of random numbers (splitmix32), so that a seed means the same samples on every device.
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let t = state ^ (state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t ^= t >>> 15;
    t = Math.imul(t, 0x735a2d97);
    return ((t ^ (t >>> 15)) >>> 0) / 4294967296;
  };
}

const normal = (uniform) => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

function tensor(type, values, shape) {
  const kept = type === "int64" ? BigInt64Array.from(values, (value) => BigInt(value)) : Float32Array.from(values);
  return new ort.Tensor(type, kept, shape);
}

function draws(name, n, uniform) {
  const found = {};
  for (const input of graphs[name].inputs) {
    const shape = input.shape.map((size) => size ?? n);
    const one = {
      normal: () => normal(uniform),
      uniform,
      integers: () => input.low + Math.floor(uniform() * (input.high - input.low)),
    }[input.kind];
    if (one) {
      found[input.name] = tensor(input.type, Array.from({ length: shape.reduce((a, b) => a * b, 1) }, one), shape);
    }
  }
  return found;
}

async function run(name, given) {
  const session = sessions[name], names = session.inputNames, n = given[names[0]].dims[0], found = [];
  for (let first = 0; first < n; first += part) {
    const last = Math.min(n, first + part);
    const feeds = Object.fromEntries(names.map((input) => [input, rows(given[input], first, last)]));
    if (n > part) await toldOf(first, n);
    found.push((await session.run(feeds))[session.outputNames[0]]);
  }
  if (found.length === 1) return found[0];
  const [one] = found, size = one.data.length / one.dims[0], all = new one.data.constructor(n * size);
  found.forEach((piece, index) => all.set(piece.data, index * part * size));
  return new ort.Tensor(one.type, all, [n, ...one.dims.slice(1)]);
}

function rows(whole, first, last) {
  const size = whole.data.length / whole.dims[0];
  return new ort.Tensor(whole.type, whole.data.slice(first * size, last * size), [last - first, ...whole.dims.slice(1)]);
}

async function toldOf(done, n) {
  element("status").textContent = `${done} of ${n} samples.`;
  await new Promise((drawn) => setTimeout(drawn, 20));
}

function chosenLabels(n, uniform) {
  if (!spec.classes.length) return {};
  const asked = element("label").value;
  const total = spec.shares.reduce((a, b) => a + b, 0);
  const one = () => {
    if (asked !== "") return Number(asked);
    let left = uniform() * total;
    return Math.max(0, spec.shares.findIndex((share) => (left -= share) < 0));
  };
  return { labels: tensor("int64", Array.from({ length: n }, one), [n]) };
}

async function generate(n, seed) {
  const uniform = random(seed);
  let inputs;
  if (graphs.inputs) {
    inputs = await run("inputs", draws("inputs", n, uniform));
  } else {
    if (!picture) return null;
    const values = new Float32Array(n * numbers);
    for (let i = 0; i < n; i++) values.set(picture, i * numbers);
    inputs = new ort.Tensor("float32", values, [n, ...spec.shape]);
  }
  return made(inputs, n, chosenLabels(n, uniform), uniform);
}

async function made(inputs, n, labels, uniform) {
  const width = inputs.data.length / (n * (inputs.dims.length === 3 ? inputs.dims[1] : 1));
  const whole = inputs.data.map((value) => (Number.isNaN(value) ? 0 : value));
  const given = { inputs: new ort.Tensor("float32", whole, inputs.dims), ...labels };
  if (graphs.mapping) {
    given.styles = await run("mapping", {
      ...given, truncation: tensor("float32", Array(n).fill(Number(element("truncation").value)), [n]),
    });
  }
  const samples = await run("model", { ...given, ...draws("model", n, uniform) });
  if (spec.modality === "sequence") {
    const features = spec.shape[1];
    for (let step = 0; step < n * spec.shape[0]; step++) {
      if (Number.isNaN(inputs.data[step * width])) samples.data.fill(NaN, step * features, (step + 1) * features);
    }
  }
  if (given.labels) samples.classes = Array.from(given.labels.data, (index) => spec.classes[Number(index)]);
  return samples;
}

// Steps along the straight line between the first pictures of two seeds: one class, one draw of all further numbers.
async function between(seed, steps) {
  const ends = [];
  for (const end of [seed, seed + 1]) ends.push(await run("inputs", draws("inputs", 1, random(end))));
  const values = new Float32Array(steps * numbers);
  for (let step = 0; step < steps; step++) {
    const uniform = random(seed), share = step / (steps - 1);
    if (part === 1) await toldOf(step, steps);
    draws("inputs", 1, uniform);
    const place = ends[0].data.map((value, i) => value * (1 - share) + ends[1].data[i] * share);
    const one = await made(new ort.Tensor("float32", place, ends[0].dims), 1, chosenLabels(1, uniform), uniform);
    values.set(one.data, step * numbers);
  }
  return { data: values, dims: [steps, ...spec.shape] };
}
