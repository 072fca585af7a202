// What a field holds, or an error in words: nothing is changed in silence.
function number(name, words) {
  const field = element(name), value = Number(field.value), least = Number(field.min), most = Number(field.max);
  if (field.value.trim() === "" || !Number.isInteger(value) || value < least || value > most) {
    field.focus();
    throw new Error(`${words} must be a whole number from ${least} to ${most}, not "${field.value}"`);
  }
  return value;
}

async function show() {
  await work(async () => {
    const n = number("count", "the number of samples"), seed = number("seed", "the seed"), start = performance.now();
    const samples = await generate(n, seed);
    if (!samples) {
      element("status").textContent = "Choose a picture of your own to translate.";
      return;
    }
    if (!element("walked").hidden) alone = null;
    element("walked").hidden = true;
    if (alone !== null) alone = Math.min(alone, n - 1);
    shown = samples;
    draw();
    const ms = Math.round(performance.now() - start);
    said = `${n} ${n === 1 ? "sample" : "samples"} of seed ${seed} in ${ms} ms`;
    told();
    drawn();
  });
}

async function walk() {
  await work(async () => {
    const seed = number("seed", "the seed");
    element("status").textContent = `Walking from seed ${seed} to seed ${seed + 1}.`;
    shown = await between(seed, 25);
    element("walked").hidden = false;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    for (let step = still ? 24 : 0; step < 25; step++) {
      element("place").value = alone = step;
      draw();
      await new Promise((done) => setTimeout(done, 60));
    }
    said = `From seed ${seed} to seed ${seed + 1}: drag the place`;
    told();
    drawn();
  });
}

// One piece of work after another; of those that were asked for meanwhile the last.
async function work(task) {
  wanted = task;
  if (busy) return;
  busy = true;
  while (wanted) {
    const next = wanted;
    wanted = null;
    try {
      element("status").classList.remove("wrong");
      await next();
    } catch (error) {
      element("status").classList.add("wrong");
      element("status").textContent = `It did not work: ${error.message}.`;
    }
  }
  busy = false;
}

function draw() {
  element("canvas").hidden = false;
  ({ image: drawImages, vector: drawPoints, sequence: drawSeries })[spec.modality](shown);
  element("single").textContent = alone === null ? "One picture" : "All pictures";
}

// Below the picture: what it shows, and what a click on it does.
function told() {
  const n = shown.dims[0], many = spec.modality === "image" && n > 1, walking = !element("walked").hidden;
  const one = walking ? `place ${alone + 1} of ${n}` : `picture ${alone + 1} of ${n}`;
  element("status").textContent = !many ? said
    : `${said}; ${alone === null ? "click on one to see it alone" : `${one}, click on it to see all`}`;
}

function drawn() {
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
}

function toggle(index) {
  if (!shown || shown.dims[0] === 1) return;
  alone = alone === null ? index : null;
  if (alone !== null) element("place").value = alone;
  draw();
  told();
}

function clicked(event) {
  if (spec.modality !== "image" || !shown) return;
  const columns = Math.ceil(Math.sqrt(shown.dims[0])), rows = Math.ceil(shown.dims[0] / columns);
  const column = Math.floor(event.offsetX / event.target.clientWidth * columns);
  const row = Math.floor(event.offsetY / event.target.clientHeight * rows);
  const index = Math.max(0, row) * columns + Math.max(0, column);
  if (alone !== null || index < shown.dims[0]) toggle(index);
}

function save() {
  if (!shown) return;
  const link = document.createElement("a");
  const series = spec.modality === "sequence";
  link.download = series ? "samples.csv" : "samples.png";
  link.href = series
    ? URL.createObjectURL(new Blob([asCsv(shown)], { type: "text/csv" }))
    : element("canvas").toDataURL("image/png");
  link.click();
}

// Means over the square of each pixel: a browser's own step from a photograph to a few pixels leaves most of it out.
// Colours are weighted by opacity, so that what cannot be seen does not bleed into what can.
function shrunk(brush, wide, high, width, height) {
  const data = brush.getImageData(0, 0, wide, high).data, found = new Float32Array(4 * width * height);
  const across = wide / width, down = high / height;
  const share = (from, at, ratio) => Math.min(at + 1, (from + 1) * ratio) - Math.max(at, from * ratio);
  for (let row = 0; row < height; row++) for (let column = 0; column < width; column++) {
    const to = 4 * (row * width + column);
    for (let y = Math.floor(row * down); y < Math.min(high, Math.ceil((row + 1) * down)); y++) {
      for (let x = Math.floor(column * across); x < Math.min(wide, Math.ceil((column + 1) * across)); x++) {
        const from = 4 * (y * wide + x), weight = share(row, y, down) * share(column, x, across) / (across * down);
        const seen = weight * data[from + 3] / 255;
        for (let c = 0; c < 3; c++) found[to + c] += seen * data[from + c];
        found[to + 3] += seen;
      }
    }
    for (let c = 0; c < 3 && found[to + 3] > 0; c++) found[to + c] /= found[to + 3];
  }
  return found;
}

// As in training: cut or padded to the shape, laid on its ground where it is transparent.
async function read(file) {
  const [channels, height, width] = spec.shape, image = await createImageBitmap(file), pad = spec.fit === "pad";
  const scale = (pad ? Math.max : Math.min)(image.width / width, image.height / height), fine = Math.max(1, scale);
  const wide = Math.max(1, Math.round(width * fine)), high = Math.max(1, Math.round(height * fine));
  const ground = spec.ground || [255, 255, 255], times = fine / scale;
  const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: high });
  const brush = canvas.getContext("2d");
  if (channels < 4) {
    brush.fillStyle = `rgb(${ground.join(" ")})`;
    brush.fillRect(0, 0, wide, high);
  }
  const place = (room, side) => Math.floor((room - side * times) / 2);
  brush.drawImage(image, place(wide, image.width), place(high, image.height), image.width * times, image.height * times);
  const pixels = shrunk(brush, wide, high, width, height), size = width * height;
  const found = new Float32Array(channels * size);
  for (let pixel = 0; pixel < size; pixel++) {
    const [r, g, b, seen] = pixels.slice(4 * pixel, 4 * pixel + 4);
    const colours = channels === 4 && seen === 0 ? ground : [r, g, b];
    const values = channels === 1 ? [0.299 * r + 0.587 * g + 0.114 * b] : colours;
    values.forEach((value, channel) => { found[channel * size + pixel] = value / 127.5 - 1; });
    if (channels === 4) found[3 * size + pixel] = 2 * seen - 1;
  }
  return found;
}

async function given(file) {
  if (!file) return;
  try {
    picture = await read(file);
  } catch {
    element("status").classList.add("wrong");
    element("status").textContent = `${file.name} is no picture that this browser can read.`;
    return;
  }
  await show();
}

async function start() {
  const what = { image: graphs.inputs ? "Images" : "Translations", vector: "Points", sequence: "Time series" }[spec.modality];
  element("title").textContent = document.title = `${what} by ${spec.family}, trained on ${spec.data.name}`;
  const seen = spec.samples_seen ? ` ${spec.samples_seen.toLocaleString("en")} samples seen in training.` : "";  // 0: imported
  const half = spec.half && !spec.half.refused ? " Weights kept in 16 bits." : "";
  element("about").textContent = `Run ${spec.run}. Licence of the data: ${spec.data.licence}.${seen}${half}`;
  element("classes").hidden = !spec.classes.length;
  const any = graphs.inputs ? [["", "as in the data"]] : [];  // a picture is translated into one that is named
  for (const [value, name] of [...any, ...spec.classes.map((name, index) => [index, name])]) {
    element("label").append(new Option(name, value));
  }
  element("truncated").hidden = !graphs.mapping;
  element("given").hidden = Boolean(graphs.inputs);
  if (!graphs.inputs && !graphs.model.inputs.some((of) => ["normal", "uniform", "integers"].includes(of.kind))) {
    // One picture has one translation.
    element("counted").hidden = element("seeded").hidden = element("next").hidden = true;
    element("count").value = 1;
  }
  const code = new Blob([SADDLEPOINT_RUNTIME.module], { type: "text/javascript" });
  ort = await import(URL.createObjectURL(code));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = bytes(SADDLEPOINT_RUNTIME.wasm).buffer;
  for (const [name, content] of Object.entries(SADDLEPOINT_MODEL.graphs)) {
    sessions[name] = await ort.InferenceSession.create(bytes(content), { executionProviders: ["wasm"] });
  }
  element("controls").addEventListener("submit", (event) => { event.preventDefault(); show(); });
  element("single").hidden = spec.modality !== "image" || element("counted").hidden;
  element("canvas").style.imageRendering = spec.modality === "image" ? "pixelated" : "auto";
  if (spec.modality === "vector") element("count").value = element("count").max;
  if (part < 4 && !element("counted").hidden) element("count").value = part === 1 ? 1 : 4;
  element("walk").hidden = spec.modality !== "image" || !graphs.inputs;
  element("numbers").hidden = element("seeded").hidden;
  element("walk").addEventListener("click", walk);
  element("single").addEventListener("click", () => toggle(element("walked").hidden ? 0 : Number(element("place").value)));
  element("canvas").addEventListener("click", clicked);
  element("place").addEventListener("input", () => { alone = Number(element("place").value); draw(); told(); });
  element("next").addEventListener("click", () => { element("seed").value = Number(element("seed").value) + 1; show(); });
  element("save").addEventListener("click", save);
  element("label").addEventListener("change", show);
  element("truncation").addEventListener("input", () => {
    element("psi").textContent = Number(element("truncation").value).toFixed(2);
    show();
  });
  element("file").addEventListener("change", (event) => given(event.target.files[0]));
  await show();
}

start().catch((error) => { element("status").textContent = `It did not work: ${error.message}`; });
