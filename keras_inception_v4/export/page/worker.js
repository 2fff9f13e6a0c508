// Runs the network outside the page's main thread: loads it and reports progress, then classifies
// one picture after the other.

import * as ort from "./ort.wasm.min.mjs";
import { decoded } from "./pixels.js";

const BEST = 5;
let network;
let settings;

async function asked(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
}

const json = async (name) => (await asked(name)).json();

async function bytesOf({ name, size, sha256 }, tell) {
  const answer = await asked(name);
  const bytes = new Uint8Array(size);
  const reader = answer.body.getReader();
  let filled = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > size) throw new Error(`${name} is not the file of this page`);
    bytes.set(value, filled);
    filled += value.length;
    tell(value.length);
  }
  let right = filled === size;
  if (right && globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    right = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
  }
  if (!right) throw new Error(`${name} is damaged or not the file of this page`);
  return bytes;
}

async function load() {
  settings = { ...(await json("keras_inception_v4.json")), ...(await json("page.json")) };
  const { parts, runtime } = settings;
  const all = [...parts, runtime].reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const tell = (count) => {
    done += count;
    postMessage({ kind: "progress", share: done / all, megabytes: all / 1e6 });
  };
  const whole = new Uint8Array(parts.reduce((sum, { size }) => sum + size, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(await bytesOf(part, tell), place);
    place += part.size;
  }
  ort.env.wasm.wasmBinary = (await bytesOf(runtime, tell)).buffer;
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", import.meta.url).href };
  // Threads need shared memory, which a page only gets if its server sends certain headers.
  const threads = Number(new URL(import.meta.url).searchParams.get("threads")) || 4;
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(threads, navigator.hardwareConcurrency || 1)
    : 1;
  postMessage({ kind: "preparing" });
  network = await ort.InferenceSession.create(whole, { executionProviders: ["wasm"] });
  // The first run is slow, and shows whether maps have more than one cell.
  const [, maps] = await answer(new Float32Array(settings.size[0] * settings.size[1] * 3));
  settings.map = Boolean(maps) && maps.dims[1] * maps.dims[2] > 1;
  postMessage({ kind: "ready", settings, threads: ort.env.wasm.numThreads });
}

async function answer(pixels) {
  const [rows, columns] = settings.size;
  const given = settings.raw_pixels ? pixels : pixels.map((value) => value / 127.5 - 1);
  const tensor = new ort.Tensor("float32", given, [1, rows, columns, 3]);
  const found = await network.run({ [network.inputNames[0]]: tensor });
  return network.outputNames.map((name) => found[name]);
}

async function look({ id, file, whole }) {
  const began = performance.now();
  const { pixels, width, height, box } = await decoded(file, settings.size, settings.crop);
  const ready = performance.now();
  const [scores, maps] = await answer(pixels);
  const ended = performance.now();
  const order = [...scores.data.keys()];
  if (settings.task !== "regression") {
    order.sort((one, other) => scores.data[other] - scores.data[one] || one - other);
  }
  const best = order.slice(0, settings.task === "regression" ? undefined : BEST).map((index) => ({
    index,
    name: settings.class_names?.[index] ?? String(index),
    score: scores.data[index],
    map: settings.map && mapOf(maps, index),
  }));
  postMessage({
    kind: "answer",
    id,
    best,
    width,
    height,
    box,
    milliseconds: { reading: ready - began, network: ended - ready },
    ...(whole && { pixels, scores: scores.data }),
  });
}

function mapOf({ data, dims }, index) {
  const [, rows, columns, classes] = dims;
  const cells = Float32Array.from({ length: rows * columns }, (_, at) => data[at * classes + index]);
  return { rows, columns, cells };
}

let last = load().catch((error) => {
  postMessage({ kind: "failed", reason: error.message });
  network = undefined;
});
onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      if (!network) throw new Error("cannot be answered: the network is not loaded");
      await look(data);
    } catch (error) {
      postMessage({ kind: "error", id: data.id, reason: error.message });
    }
  });
};
