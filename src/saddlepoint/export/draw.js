function drawImages(all) {
  const [, channels, height, width] = all.dims, samples = alone === null ? all : one(all, alone), n = samples.dims[0];
  const columns = Math.ceil(Math.sqrt(n)), rows = Math.ceil(n / columns);
  const most = n === 1 ? 20 : 8, canvas = element("canvas");
  const scale = Math.max(1, Math.min(most, Math.floor(640 / (columns * width))));
  canvas.width = columns * width * scale;
  canvas.height = rows * height * scale;
  const brush = canvas.getContext("2d"), tile = new ImageData(width, height), small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  brush.imageSmoothingEnabled = false;
  for (let i = 0; i < n; i++) {
    for (let pixel = 0; pixel < height * width; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const source = (i * channels + Math.min(channel, channels - 1)) * height * width + pixel;
        tile.data[4 * pixel + channel] = Math.round(127.5 * (samples.data[source] + 1));
      }
      const opacity = (i * channels + 3) * height * width + pixel;
      tile.data[4 * pixel + 3] = channels === 4 ? Math.round(127.5 * (samples.data[opacity] + 1)) : 255;
    }
    small.getContext("2d").putImageData(tile, 0, 0);
    const x = (i % columns) * width * scale, y = Math.floor(i / columns) * height * scale;
    brush.drawImage(small, x, y, width * scale, height * scale);
  }
}

function one(samples, index) {
  const size = samples.data.length / samples.dims[0];
  return { data: samples.data.slice(index * size, (index + 1) * size), dims: [1, ...samples.dims.slice(1)] };
}

function drawPoints(samples) {
  const [n, features] = samples.dims, canvas = element("canvas"), size = 480;
  canvas.width = canvas.height = size;
  const brush = canvas.getContext("2d");
  const most = Math.max(...samples.data.map(Math.abs)) * 1.1;
  brush.fillStyle = "#3b6fc4";
  for (let i = 0; i < n; i++) {
    const x = samples.data[i * features], y = features > 1 ? samples.data[i * features + 1] : 0;
    brush.fillRect((x / most + 1) * size / 2 - 2.5, (1 - y / most) * size / 2 - 2.5, 5, 5);
  }
}

function drawSeries(samples) {
  const [n, steps, features] = samples.dims, canvas = element("canvas"), width = 640, height = 90;
  canvas.width = width;
  const shown = Math.min(features, spec.layout.columns.length);  // the calendar behind them is given, not made
  canvas.height = height * shown;
  const brush = canvas.getContext("2d");
  brush.font = "12px system-ui";
  for (let feature = 0; feature < shown; feature++) {
    brush.fillStyle = "#888";
    brush.fillText(spec.layout.columns[feature].name, 6, feature * height + 14);
    for (let i = 0; i < n; i++) {
      brush.strokeStyle = `hsl(${(i * 137) % 360} 60% 50%)`;
      brush.beginPath();
      for (let step = 0; step < steps; step++) {
        const value = samples.data[(i * steps + step) * features + feature];
        if (!Number.isNaN(value)) brush.lineTo(step * width / (steps - 1), (feature + 1 - 0.05 - 0.9 * value) * height);
      }
      brush.stroke();
    }
  }
}

function asCsv(samples) {
  const [n, steps, features] = samples.dims, columns = spec.layout.columns;
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const named = samples.classes ? [spec.layout.label || spec.layout.group || "label"] : [];
  const lines = [["window", ...columns.map((column) => column.name), ...named].map(quoted).join(",")];
  for (let i = 0; i < n; i++) {
    for (let step = 0; step < steps; step++) {
      const row = columns.map(({ low, high, decimals, step: grid }, feature) => {
        const scaled = samples.data[(i * steps + step) * features + feature];
        const value = Number.isNaN(scaled) ? NaN : low === high ? low : scaled * (high - low) + low;
        if (grid && low !== high) return Number((low + Math.round((value - low) / grid) * grid).toFixed(decimals ?? 10));
        return decimals === null || low === high ? value : Number(value.toFixed(decimals));
      });
      const asked = samples.classes ? [quoted(samples.classes[i])] : [];
      if (!row.some(Number.isNaN)) lines.push([i, ...row, ...asked].join(","));
    }
  }
  return lines.join("\n") + "\n";
}
