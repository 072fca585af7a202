// Runs a graph by onnxruntime-web: node runtime_web.mjs MODULE FOLDER, with model.onnx and feeds.json in the folder.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [, , module, folder] = process.argv;
const ort = await import(pathToFileURL(resolve(module)).href);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = readFileSync(join(dirname(module), "ort.wasm"));
const session = await ort.InferenceSession.create(readFileSync(join(folder, "model.onnx")));
const feeds = {};
for (const [name, { type, dims, data }] of Object.entries(JSON.parse(readFileSync(join(folder, "feeds.json"))))) {
  const values = type === "int64" ? BigInt64Array.from(data, BigInt) : Float32Array.from(data);
  feeds[name] = new ort.Tensor(type, values, dims);
}
const found = (await session.run(feeds))[session.outputNames[0]];
console.log(JSON.stringify({ dims: found.dims, data: Array.from(found.data) }));
