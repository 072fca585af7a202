"use strict";
const spec = SADDLEPOINT_MODEL.description, element = (id) => document.getElementById(id);
const graphs = Object.fromEntries(spec.graphs.map((graph) => [graph.name, graph]));
const sessions = {};
let ort, said = "", shown = null, picture = null, alone = null, busy = false, wanted = null;

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

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
  const session = sessions[name];
  const feeds = Object.fromEntries(session.inputNames.map((input) => [input, given[input]]));
  return (await session.run(feeds))[session.outputNames[0]];
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
    const size = spec.shape.reduce((a, b) => a * b, 1), values = new Float32Array(n * size);
    for (let i = 0; i < n; i++) values.set(picture, i * size);
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
  const size = spec.shape.reduce((a, b) => a * b, 1), values = new Float32Array(steps * size);
  for (let step = 0; step < steps; step++) {
    const uniform = random(seed), share = step / (steps - 1);
    draws("inputs", 1, uniform);
    const place = ends[0].data.map((value, i) => value * (1 - share) + ends[1].data[i] * share);
    const one = await made(new ort.Tensor("float32", place, ends[0].dims), 1, chosenLabels(1, uniform), uniform);
    values.set(one.data, step * size);
  }
  return { data: values, dims: [steps, ...spec.shape] };
}
