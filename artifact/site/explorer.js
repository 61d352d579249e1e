// Looks a setting up in GRID (explorer-grid.js) and draws it; no number is computed but sums.
"use strict";
{
  const names = Object.keys(GRID.axes), controls = {};
  const labels = { precision: "precision", cell_bits: "bits per cell", adc_bits: "ADC bits",
    variation: "variation σ of the cells", design: "law of a full conversion",
    partial: "law of a shorter one" };
  const words = {
    walden: "Walden: doubles with each bit", neurosim: "NeuroSim's SAR converter",
    "isaac-saberi": "ISAAC's converter, scaled", survey: "published converters, regression",
    "sar-cycles": "SAR converter: so many cycles", linear: "the same for each bit",
    "half-fixed": "half fixed, half by bits", "fixed-cdac": "fixed part and capacitors",
    cdac: "capacitors alone: doubles with each bit", whole: "whole: cannot stop early",
  };
  const start = { precision: "W4A3", cell_bits: 1, adc_bits: 4, variation: 0,
    design: "walden", partial: "sar-cycles" };
  const colours = ["#1B4F9C", "#E69F00", "#00795A", "#F5EA70", "#CFCFCF", "#5E1200"];
  const panel = document.getElementById("controls");
  for (const name of names) {
    const values = GRID.axes[name], label = document.createElement("label");
    const shown = document.createElement("output"), slider = values.every(Number.isFinite);
    const control = document.createElement(slider ? "input" : "select");
    label.append(labels[name] + (slider ? ": " : ""), shown, control);
    if (slider) {
      Object.assign(control, { type: "range", min: 0, max: values.length - 1, step: 1 });
    } else {
      values.forEach((value, place) => control.append(new Option(words[value] ?? value, place)));
    }
    control.value = values.indexOf(start[name]);
    control.id = name;
    control.addEventListener("input", draw);
    controls[name] = { control, shown, slider };
    panel.append(label);
  }

  function place(name) { return Number(controls[name].control.value); }
  function value(name) { return GRID.axes[name][place(name)]; }
  function element(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, each] of Object.entries(attributes)) made.setAttribute(key, each);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function draw() {
    for (const name of names) if (controls[name].slider) controls[name].shown.value = value(name);
    const chip = GRID.chips.find((each) => ["precision", "cell_bits", "adc_bits"].every(
      (name) => each[name] === value(name)));
    const accuracy = (100 * chip.correct[place("variation")]) / GRID.images;
    const adc = chip.adc[place("design")][place("partial")];
    const parts = [0, 1].map((when) => [adc[when], ...chip.rest[when]]);
    const sums = parts.map((each) => each.reduce((sum, part) => sum + part, 0));
    const saved = 100 * (1 - adc[1] / adc[0]), gain = sums[0] / sums[1];
    document.getElementById("said").textContent =
      `${value("precision")}: ${accuracy.toFixed(1)} % of ${GRID.images} images are right ` +
      `(without hardware ${((100 * chip.ideal) / GRID.images).toFixed(1)} %). The zeros save ` +
      `${saved.toFixed(0)} % of the ADC energy; the efficiency is ${gain.toFixed(2)} × as high.`;
    const svg = document.getElementById("drawn"), widest = Math.max(...sums);
    svg.replaceChildren();
    parts.forEach((each, when) => {
      let x = 0;
      each.forEach((part, which) => {
        const width = (340 * part) / widest;
        svg.append(element("rect", { x, y: 20 + 58 * when, width, height: 30, fill: colours[which] }));
        x += width;
      });
      svg.append(element("text", { x: 0, y: 14 + 58 * when },
        `${["without", "with"][when]} sparsity: ${(sums[when] / 1000).toFixed(0)} nJ per inference`));
    });
    GRID.components.forEach((name, which) => {
      const x = (which % 2) * 178, y = 140 + 18 * Math.floor(which / 2);
      svg.append(element("rect", { x, y: y - 10, width: 11, height: 11, fill: colours[which] }));
      svg.append(element("text", { x: x + 15, y, "font-size": 11 }, name.replace("adc", "ADC")));
    });
  }
  draw();
}
