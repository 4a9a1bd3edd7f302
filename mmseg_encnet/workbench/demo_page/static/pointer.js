// Shows class and codeword under the cursor from data embedded in the panels, without requests.
(() => {
  const root = document.documentElement;
  const tip = document.createElement('div');
  tip.id = 'em-tip';
  const decoded = new Map();

  // The data of a panel as {names, width, height, values}; null until the panel exists and is decoded.
  function dataOf(kind) {
    const image = document.querySelector(`img.em-data[data-kind=${kind}]`);
    if (!image || !image.complete || !image.naturalWidth) return null;
    const known = decoded.get(kind);
    if (known && known.source === image.src) return known;
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    const data = {
      source: image.src, names: JSON.parse(image.dataset.names),
      width: canvas.width, height: canvas.height,
      values: context.getImageData(0, 0, canvas.width, canvas.height).data,
    };
    decoded.set(kind, data);
    return data;
  }

  function valueAt(data, x, y) {
    const column = Math.min(Math.floor(x * data.width), data.width - 1);
    const row = Math.min(Math.floor(y * data.height), data.height - 1);
    const at = 4 * (row * data.width + column);
    return {index: data.values[at] + 256 * data.values[at + 1], weight: data.values[at + 2] / 255};
  }

  function textAt(x, y) {
    const lines = [];
    const classes = dataOf('classes');
    if (classes) lines.push(classes.names[valueAt(classes, x, y).index]);
    const codewords = dataOf('codewords');
    if (codewords) {
      const {index, weight} = valueAt(codewords, x, y);
      lines.push(`codeword ${index}: assignment ${weight.toFixed(2)}, ` +
                 `${codewords.names[index]} of the image`);
    }
    return lines.join('\n');
  }

  function point(event) {
    const map = event.target instanceof Element && event.target.closest('.em-map');
    if (!map) {
      root.classList.remove('em-pointed');
      return;
    }
    const box = map.getBoundingClientRect();
    const x = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const y = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
    root.style.setProperty('--em-x', x);
    root.style.setProperty('--em-y', y);
    tip.textContent = textAt(x, y);
    if (!tip.isConnected) document.body.append(tip);
    root.classList.toggle('em-pointed', tip.textContent !== '');
    // Beside the cursor, on the side with enough room.
    const {offsetWidth: width, offsetHeight: height} = tip;
    const left = event.clientX + 16 + width > innerWidth ? event.clientX - 12 - width
                                                         : event.clientX + 16;
    const top = event.clientY + 16 + height > innerHeight ? event.clientY - 12 - height
                                                          : event.clientY + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  }

  document.addEventListener('pointermove', point);
  document.addEventListener('pointerdown', point);
})();
