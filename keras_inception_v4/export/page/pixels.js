// Loads pixels as `load_image` does: the middle of a picture, scaled by Pillow's antialiased
// bicubic filter on red, green and blue, in floating point.

const SUPPORT = 2; // filter's reach, in the larger pixels: the picture's or the result's
const BAND = 2 ** 21; // pixels of the picture that are read at a time

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

function toEven(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low % 2) : Math.round(x);
}

// Returns the part of a picture that the network sees: left, top, right, bottom, in pixels.
export function windowOf(width, height, [rows, columns], crop) {
  const coverRows = Math.trunc(rows / crop);
  const coverColumns = Math.trunc(columns / crop);
  const [scaledRows, scaledColumns] =
    coverRows * width > coverColumns * height
      ? [coverRows, Math.trunc((coverRows * width) / height)]
      : [Math.trunc((coverColumns * height) / width), coverColumns];
  const top = toEven((scaledRows - rows) / 2);
  const left = toEven((scaledColumns - columns) / 2);
  const y = height / scaledRows;
  const x = width / scaledColumns;
  return [left * x, top * y, (left + columns) * x, (top + rows) * y];
}

// Returns, for each of `count` results, the first pixel that it uses and the weights from there on.
function weights(from, to, count, size) {
  const scale = (to - from) / count;
  const wide = Math.max(scale, 1);
  const reach = SUPPORT * wide;
  return Array.from({ length: count }, (_, index) => {
    const centre = from + (index + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), size);
    const taps = Float64Array.from({ length: end - first }, (_, tap) =>
      bicubic((first + tap - centre + 0.5) / wide),
    );
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return { first, taps: taps.map((tap) => tap / sum) };
  });
}

// Resizes a picture of `width` x `height` to float32 rows x columns x 3, 0 to 255.
// `read(x, y, columns, rows)` returns red, green, blue and opacity of a part, 0 to 255.
export function resized(read, width, height, size, crop) {
  const [rows, columns] = size;
  const [left, top, right, bottom] = windowOf(width, height, size, crop);
  const across = weights(left, right, columns, width);
  const down = weights(top, bottom, rows, height);
  const x0 = Math.min(...across.map(({ first }) => first));
  const x1 = Math.max(...across.map(({ first, taps }) => first + taps.length));
  const y0 = Math.min(...down.map(({ first }) => first));
  const y1 = Math.max(...down.map(({ first, taps }) => first + taps.length));
  const scaled = new Float32Array((y1 - y0) * columns * 3);
  const band = Math.max(Math.floor(BAND / (x1 - x0)), 1);
  for (let y = y0; y < y1; y += band) {
    const count = Math.min(band, y1 - y);
    const part = read(x0, y, x1 - x0, count);
    for (let row = 0; row < count; row++) {
      const line = row * (x1 - x0) * 4;
      let to = (y - y0 + row) * columns * 3;
      for (const { first, taps } of across) {
        let from = line + (first - x0) * 4;
        let red = 0;
        let green = 0;
        let blue = 0;
        for (const tap of taps) {
          red += tap * part[from];
          green += tap * part[from + 1];
          blue += tap * part[from + 2];
          from += 4;
        }
        scaled[to++] = red;
        scaled[to++] = green;
        scaled[to++] = blue;
      }
    }
  }
  const pixels = new Float32Array(rows * columns * 3);
  let to = 0;
  for (const { first, taps } of down) {
    for (let column = 0; column < columns * 3; column++) {
      let sum = 0;
      let from = (first - y0) * columns * 3 + column;
      for (const tap of taps) {
        sum += tap * scaled[from];
        from += columns * 3;
      }
      pixels[to++] = Math.min(Math.max(sum, 0), 255);
    }
  }
  return pixels;
}

// Decodes an image file: upright, with the colours of the file, transparent parts on white.
export async function decoded(file, size, crop) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new Error("cannot be read as an image");
  }
  try {
    const { width, height } = bitmap;
    const read = (x, y, columns, rows) => {
      const canvas = new OffscreenCanvas(columns, rows);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, columns, rows);
      context.drawImage(bitmap, x, y, columns, rows, 0, 0, columns, rows);
      return context.getImageData(0, 0, columns, rows).data;
    };
    const pixels = resized(read, width, height, size, crop);
    return { pixels, width, height, box: windowOf(width, height, size, crop) };
  } finally {
    bitmap.close();
  }
}
