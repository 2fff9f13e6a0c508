// The page's interface: takes pictures by choice, drop or camera, and shows predictions as cards.

const at = (id) => document.getElementById(id);
const COLOURS = [[11, 30, 91], [215, 38, 61], [255, 233, 74]]; // of maps, least to greatest
const OPACITY = 0.5;
const BORDER = 2; // cells around a map
const WIDEST = 480; // longest side of a picture on its card, in pixels
const threads = new URLSearchParams(location.search).get("threads");
// A worker from a blob inherits this page's security policy; one from the server would have none.
const script = new URL(`worker.js${threads ? `?threads=${encodeURIComponent(threads)}` : ""}`, location);
const start = new Blob([`import ${JSON.stringify(script.href)};`], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(start), { type: "module" });
export const cards = new Map();
let settings;
let count = 0;

function say(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

function made(kind, properties = {}, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

const heard = {
  progress({ share, megabytes }) {
    at("loaded").value = share;
    at("stage").textContent =
      `Loading the network: ${Math.round(share * 100)} % of ${megabytes.toFixed(0)} MB`;
  },
  preparing() {
    at("loaded").removeAttribute("value");
    at("stage").textContent = "Preparing the network";
  },
  ready(message) {
    settings = message.settings;
    at("loading").hidden = true;
    at("input").hidden = false;
    at("maps").closest("label").hidden = !settings.map;
    at("camera").hidden = !navigator.mediaDevices;
    const cores = message.threads === 1 ? "one thread" : `${message.threads} threads`;
    at("about").textContent =
      `Inception-v4 runs in this page (${settings.precision}, ${cores}). No picture leaves it.`;
    say("Ready.");
    document.body.dataset.ready = "true";
  },
  failed({ reason }) {
    at("loading").hidden = true;
    say(`The network was not loaded: ${reason}. Load the page again.`, true);
    document.body.dataset.failed = "true";
  },
  answer(message) {
    const card = cards.get(message.id);
    if (card) show(card, message);
  },
  error({ id, reason }) {
    const card = cards.get(id);
    if (!card) return;
    card.element.append(made("p", { className: "wrong", textContent: `${card.name} ${reason}.` }));
    card.element.dataset.state = "error";
    say(`${card.name} ${reason}.`, true);
  },
};
worker.onmessage = ({ data }) => heard[data.kind](data);
worker.onerror = (event) => heard.failed({ reason: event.message || "this browser cannot run it" });

function add(files) {
  for (const file of files) {
    const id = count++;
    const name = file.name || "picture";
    const element = made("li", {}, made("h2", { textContent: name }));
    element.dataset.state = "waiting";
    at("answers").prepend(element);
    cards.set(id, { element, file, name });
    worker.postMessage({ id, file, whole: document.body.dataset.whole === "true" });
  }
  at("clear").hidden = cards.size === 0;
  if (files.length) say(files.length === 1 ? "Looking." : `Looking at ${files.length} pictures.`);
}

async function show(card, message) {
  const { best, milliseconds } = message;
  card.message = message; // tests look here
  card.chosen = 0;
  card.canvas = made("canvas");
  card.canvas.setAttribute("role", "img");
  card.buttons = best.map((found, place) => row(card, found, place));
  const list = made("ol", { className: "best" }, ...card.buttons.map((one) => made("li", {}, one)));
  const spent = milliseconds.network;
  card.element.append(
    card.canvas,
    list,
    made("p", {
      className: "faint",
      textContent: `Network ${spent.toFixed(0)} ms, reading ${milliseconds.reading.toFixed(0)} ms`,
    }),
  );
  await choose(card, 0);
  card.element.dataset.state = "answered";
  say(`${card.name}: ${best[0].name}, ${shown(best[0].score)}.`);
}

function shown(score) {
  return settings.task === "regression" ? score.toPrecision(4) : `${(100 * score).toFixed(1)} %`;
}

function row(card, { index, name, score }, place) {
  const several = settings.task === "multi-label";
  const limit = settings.thresholds?.[index] ?? 0.5;
  const answered = several ? score >= limit : settings.task !== "regression" && place === 0;
  const label = made("span", { className: answered ? "name answered" : "name", textContent: name });
  const button = made("button", { type: "button" }, label, made("span", { textContent: shown(score) }));
  if (settings.task !== "regression") {
    const bar = made("i");
    bar.style.width = `${100 * score}%`;
    button.append(made("span", { className: "bar" }, bar));
  }
  button.disabled = !settings.map;
  button.addEventListener("click", () => choose(card, place));
  return button;
}

async function choose(card, place) {
  card.chosen = place;
  if (settings.map) {
    card.buttons.forEach((one, other) => one.setAttribute("aria-pressed", String(other === place)));
  }
  await draw(card);
}

// Draws the picture, darker outside the part that the network sees, and the map over that part.
async function draw({ canvas, file, message, chosen }) {
  const { width, height, box, best } = message;
  const scale = Math.min(WIDEST / width, WIDEST / height, 4);
  canvas.width = Math.max(Math.round(width * scale), 1);
  canvas.height = Math.max(Math.round(height * scale), 1);
  const context = canvas.getContext("2d");
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const [left, top, right, bottom] = box.map((edge) => edge * scale);
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, top, right - left, bottom - top);
  context.fill("evenodd");
  const { map, name } = best[chosen];
  const wanted = Boolean(map) && at("maps").checked;
  if (wanted) {
    const [x, across] = spanned(left, right, settings.size[1], map.columns);
    const [y, down] = spanned(top, bottom, settings.size[0], map.rows);
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    context.globalAlpha = OPACITY;
    context.drawImage(coloured(map), x, y, across, down);
    context.restore();
  }
  canvas.setAttribute("aria-label", wanted ? `Where ${name} was seen` : "The picture");
}

// Start and length on the canvas of a row of cells with its BORDER. Cell i is centred on pixel
// `first + i * stride` of the network's input.
function spanned(from, to, pixels, count) {
  const [first, stride] = settings.cells ?? [pixels / count / 2 - 0.5, pixels / count];
  const scale = (to - from) / pixels;
  const start = first + 0.5 - (BORDER + 0.5) * stride;
  return [from + start * scale, (count + 2 * BORDER) * stride * scale];
}

// One pixel for each cell. The outermost cells are repeated, to reach the picture's border.
function coloured({ rows, columns, cells }) {
  const least = Math.min(...cells);
  const span = Math.max(...cells) - least || 1;
  const [width, height] = [columns + 2 * BORDER, rows + 2 * BORDER];
  const canvas = made("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const inside = (place, count) => Math.min(Math.max(place - BORDER, 0), count - 1);
  for (let index = 0; index < width * height; index++) {
    const row = inside(Math.floor(index / width), rows);
    const value = cells[row * columns + inside(index % width, columns)];
    const share = (2 * (value - least)) / span;
    const from = share < 1 ? 0 : 1;
    COLOURS[from].forEach((low, channel) => {
      const high = COLOURS[from + 1][channel];
      image.data[4 * index + channel] = low + (share - from) * (high - low);
    });
    image.data[4 * index + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

at("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
at("maps").addEventListener("change", () => {
  for (const card of cards.values()) if (card.message) draw(card);
});
at("clear").addEventListener("click", () => {
  cards.clear();
  at("answers").replaceChildren();
  at("clear").hidden = true;
  say("Ready.");
  at("files").focus();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && settings) add([...event.dataTransfer.files]);
  });
}

let stream;
function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = undefined;
  at("viewfinder").hidden = true;
  at("camera").textContent = "Use the camera";
  at("camera").setAttribute("aria-expanded", "false");
}
at("camera").addEventListener("click", async () => {
  if (stream) return stop();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say(`The camera cannot be used (${error.name}).`, true);
  }
  at("take").disabled = true; // until there is a frame
  at("video").srcObject = stream;
  at("viewfinder").hidden = false;
  at("camera").textContent = "Close the camera";
  at("camera").setAttribute("aria-expanded", "true");
  await at("video").play();
  at("take").disabled = false;
});
at("take").addEventListener("click", () => {
  const { videoWidth: width, videoHeight: height } = at("video");
  const canvas = made("canvas", { width, height });
  canvas.getContext("2d").drawImage(at("video"), 0, 0);
  canvas.toBlob((blob) => add([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
});
