"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const splits = Object.keys(report.splits);
  const colors = { train: "#2a6f97", val: "#e09f3e", test: "#6a994e" };
  const charts = [];
  const format = (number) => number.toLocaleString("en-US");
  const size = (bytes) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
    return step === 0 ? `${bytes} B` : `${(bytes / 1000 ** step).toPrecision(3)} ${units[step]}`;
  };
  const sum = (numbers) => numbers.reduce((total, one) => total + one, 0);
  const narrow = () => window.innerWidth < 600;

  // Everything from outside gets onto the page as text.
  const element = (name, text = "", className = "") => {
    const made = document.createElement(name);
    if (text !== "") made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const byId = (id) => document.getElementById(id);
  const table = (header, rows, numbers = () => false) => {
    const made = element("table");
    const head = made.createTHead().insertRow();
    header.forEach((name, place) => head.append(element("th", name, numbers(place) ? "number" : "")));
    const body = made.createTBody();
    rows.forEach((cells) => {
      const row = body.insertRow();
      cells.forEach((cell, place) => {
        const td = row.insertCell();
        if (cell instanceof Node) td.append(cell); else td.textContent = cell;
        if (numbers(place)) td.className = "number";
      });
    });
    return made;
  };
  const base = {
    animation: false,
    textStyle: { fontFamily: "system-ui, sans-serif", color: "#1d2733" },
    tooltip: { renderMode: "richText", confine: true },
  };
  const draw = (id, options) => {
    const chart = echarts.init(byId(id), null, { renderer: "svg" });
    chart.setOption({ ...base, ...options, tooltip: { ...base.tooltip, ...options.tooltip } });
    charts.push(chart);
    return chart;
  };
  const legend = { top: 0, data: splits };
  const grid = { left: 8, right: 16, top: 36, bottom: 30, containLabel: true };
  const short = (number) => (number >= 1e6 ? `${number / 1e6}M` : number >= 1e3 ? `${number / 1e3}k` : `${number}`);

  // Header
  document.title = `kconvert report: ${report.release}`;
  byId("title").textContent = report.title;
  byId("subtitle").textContent =
    `${report.release} as ${report.format}, splits ${splits.join(", ")}; made by kconvert ${report.kconvert}`;
  const total = (name) => sum(splits.map((split) => report.splits[split][name]));
  const rejected = sum(splits.map((split) => sum(Object.values(report.splits[split].num_rejected))));
  [
    ["written", format(total("num_written"))], ["short", format(total("num_short"))],
    ["few frames", format(total("num_few_frames"))],
    ["replaced", format(total("num_replaced"))], ["rejected", format(rejected)],
    ["missing", format(total("num_missing"))], ["shards", format(total("num_shards"))],
    ["on disk", size(total("num_bytes"))],
  ].forEach(([name, value]) => {
    const box = element("div");
    box.append(element("b", value), element("span", name));
    byId("numbers").append(box);
  });

  // The account
  const flowOf = (which) => {
    const links = new Map();
    which.forEach((split) => report.flow[split].forEach(([from, to, number]) => {
      const key = JSON.stringify([from, to]);
      links.set(key, (links.get(key) || 0) + number);
    }));
    return [...links].map(([key, value]) => ({ source: JSON.parse(key)[0], target: JSON.parse(key)[1], value }));
  };
  const shade = (name) =>
    name.startsWith("rejected") ? "#c0392b" : name === "missing" ? "#8d99a6" : name === "short or few frames" ? "#e09f3e"
      : name === "replaced" ? "#7b5ea7" : name === "written" || name === "without a flag" ? "#6a994e" : "#2a6f97";
  const flowChart = draw("flow-chart", {});
  const drawFlow = () => {
    const chosen = byId("flow-split").value;
    const links = flowOf(chosen === "all" ? splits : [chosen]);
    const into = new Map();
    links.forEach(({ source, target, value }) => {
      into.set(target, (into.get(target) || 0) + value);
      if (!into.has(source)) into.set(source, 0);
    });
    const outOf = (name) => sum(links.filter((link) => link.source === name).map((link) => link.value));
    const amount = (name) => format(into.get(name) || outOf(name));
    const small = narrow();
    flowChart.setOption({
      series: [{
        type: "sankey", left: 4, right: small ? 118 : 170, top: 8, bottom: 8, nodeGap: 14, nodeWidth: 12,
        draggable: false, emphasis: { focus: "adjacency" }, lineStyle: { color: "source", opacity: 0.3 },
        label: {
          fontSize: small ? 10 : 12,
          formatter: ({ name }) => `${small ? name.replace("rejected: ", "") : name}  ${amount(name)}`,
        },
        data: [...into.keys()].map((name) => ({ name, itemStyle: { color: shade(name) } })),
        links,
      }],
      tooltip: { formatter: (on) => on.dataType === "edge"
        ? `${on.data.source} → ${on.data.target}: ${format(on.data.value)}` : `${on.name}: ${amount(on.name)}` },
    });
  };
  ["all", ...splits].forEach((split) => byId("flow-split").append(new Option(split, split)));
  byId("flow-split").addEventListener("change", drawFlow);
  drawFlow();
  const reasons = [...new Set(splits.flatMap((split) => Object.keys(report.splits[split].num_rejected)))];
  const lines = [
    ["annotated", (split) => split.num_annotations], ["not asked for", (split) => split.num_unread_annotations],
    ["missing: in no archive", (split) => split.num_missing], ["not annotated, but hosted", (split) => split.num_unannotated],
    ["written", (split) => split.num_written], ["of these short", (split) => split.num_short],
    ["of these replaced", (split) => split.num_replaced],
    ...reasons.map((reason) => [`rejected: ${reason}`, (split) => split.num_rejected[reason] || 0]),
    ["shards", (split) => split.num_shards],
  ];
  byId("account-table").append(table(
    ["", ...splits, "all"],
    lines.map(([name, of]) => {
      const numbers = splits.map((split) => of(report.splits[split]));
      return [name, ...numbers.map(format), format(sum(numbers))];
    }),
    (place) => place > 0,
  ));

  // Media. Counts are on a logarithmic axis: what is rare is what one looks for.
  const width = report.bin_seconds;
  const starts = splits.flatMap((split) => report.durations[split].map(([start]) => start));
  const [first, last] = [Math.min(...starts), Math.max(...starts)];
  const bins = starts.length === 0 ? [] : (last - first) / width < 400
    ? Array.from({ length: Math.round((last - first) / width) + 1 }, (_, step) => first + step * width)
    : [...new Set(starts)].sort((a, b) => a - b);
  draw("duration-chart", {
    grid, legend,
    xAxis: { type: "category", name: "seconds", nameLocation: "middle", nameGap: 26, data: bins.map((start) => start.toFixed(2)) },
    yAxis: { type: "log", name: "clips (log)", min: 0.5, startValue: 0.5, axisLabel: { formatter: short } },
    tooltip: { trigger: "axis", formatter: (on) => `${on[0].axisValue} to ${(Number(on[0].axisValue) + width).toFixed(2)} s\n`
      + on.map((one) => `${one.seriesName}: ${format(one.value || 0)}`).join("\n") },
    series: splits.map((split) => {
      const found = new Map(report.durations[split]);
      return { name: split, type: "bar", color: colors[split], data: bins.map((start) => found.get(start) || null) };
    }),
  });
  Object.entries(report.kinds).forEach(([name, { names, splits: counts }], number) => {
    const box = element("div");
    const chart = element("div", "", "chart");
    chart.id = `kind-${number}`;
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-label", name);
    chart.style.height = `${90 + 18 * Math.max(3, names.length)}px`;
    box.append(element("h3", name[0].toUpperCase() + name.slice(1)), chart);
    byId("kinds").append(box);
    draw(chart.id, {
      grid: { ...grid, right: 30 }, legend,
      yAxis: { type: "category", inverse: true, data: names, axisLabel: { fontSize: 11, width: 110, overflow: "truncate" } },
      xAxis: { type: "value", axisLabel: { formatter: short, hideOverlap: true } },
      tooltip: { trigger: "axis", axisPointer: { type: "shadow" } },
      series: splits.map((split) => ({ name: split, type: "bar", stack: "all", color: colors[split], data: counts[split] })),
    });
  });

  // Classes
  const labels = report.labels.map((label, id) => ({ label, id, number: sum(splits.map((split) => report.classes[split][id])) }));
  labels.sort((a, b) => b.number - a.number || a.id - b.id);
  draw("class-chart", {
    grid, legend,
    xAxis: { type: "category", data: labels.map(({ label }) => label), axisLabel: { show: false }, axisTick: { show: false },
      name: `${labels.length} classes, the fullest first`, nameLocation: "middle", nameGap: 12 },
    yAxis: { type: "value", name: "clips", axisLabel: { formatter: short } },
    tooltip: { trigger: "axis", axisPointer: { type: "shadow" } },
    series: splits.map((split) => ({ name: split, type: "bar", stack: "all", barCategoryGap: "0%", color: colors[split],
      data: labels.map(({ id }) => report.classes[split][id]) })),
  });
  const present = labels.filter(({ number }) => number);
  const absent = labels.length - present.length;
  byId("thinnest").textContent = "The thinnest: "
    + present.slice(-12).reverse().map(({ label, number }) => `${label} (${format(number)})`).join(", ")
    + (absent ? `. ${absent} of ${labels.length} classes have no clip.` : ".");

  // Shards
  const seen = sum(report.shards.map((shard) => shard.num_classes));
  const expected = sum(report.shards.map((shard) => shard.expected_classes));
  const run = Math.max(0, ...report.shards.map((shard) => shard.longest_run));
  byId("mixing").textContent = report.shards.length
    ? `Shards hold ${format(Math.round((100 * seen) / expected))} % of the classes that a perfectly random draw would give them; `
      + `the longest run of one class is ${format(run)}. Without labels, all clips count as one class.`
    : "No shard was written.";
  const names = report.shards.map(({ path }) => path);
  const perShard = (id, name, series, label) => draw(id, {
    grid, legend: { top: 0 },
    xAxis: { type: "category", data: names, axisLabel: { show: false }, axisTick: { show: false },
      name: `${names.length} shards`, nameLocation: "middle", nameGap: 12 },
    yAxis: { type: "value", name, axisLabel: { formatter: label } },
    tooltip: { trigger: "axis", formatter: (on) => `${on[0].axisValue}\n`
      + on.filter((one) => one.value != null).map((one) => `${one.seriesName}: ${label(one.value)}`).join("\n") },
    series,
  });
  perShard("mixing-chart", "classes", [
    { name: "classes in the shard", type: "scatter", symbolSize: 6, color: "#2a6f97", data: report.shards.map((shard) => shard.num_classes) },
    { name: "expected of a random draw", type: "line", symbol: "none", color: "#e09f3e", data: report.shards.map((shard) => shard.expected_classes) },
    { name: "longest run of one class", type: "scatter", symbolSize: 4, color: "#c0392b", data: report.shards.map((shard) => shard.longest_run) },
  ], (value) => format(value));
  perShard("size-chart", "size", splits.map((split) => ({
    name: split, type: "bar", stack: "all", color: colors[split], data: report.shards.map((shard) => (shard.split === split ? shard.size_bytes : null)),
  })), size);

  // What is odd
  if (report.listed.length) {
    byId("account").append(element("h3", "What is odd about it"));
    const listed = element("div", "", "scroll");
    listed.append(table(["split", "what", ""], report.listed));
    byId("account").append(listed);
  }

  // Flagged
  const { columns, rows, num_unlisted: unlisted } = report.flagged;
  const texts = rows.map((row) => row.join(" ").toLowerCase());
  const shown = 200;
  const search = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((_, place) => words.every((word) => texts[place].includes(word)));
    byId("matches").textContent = `${format(found.length)} of ${format(rows.length)} clips`
      + (found.length > shown ? `, the first ${shown} shown` : "")
      + (unlisted ? `; ${format(unlisted)} more are in the tables only` : "");
    const made = table(columns.map((name) => name.replace("_", " ")), found.slice(0, shown));
    [...made.tBodies[0].rows].forEach((row) => { row.cells[1].className = "key"; });
    byId("flagged-table").replaceChildren(made);
  };
  byId("search").addEventListener("input", search);
  search();

  // Contact sheets
  const sheetOf = (clips, frames) => {
    const sheet = element("div", "", "sheet");
    clips.forEach(({ key, label, about, images }) => {
      const figure = element("figure");
      const stills = element("div", "", "stills");
      stills.style.gridTemplateColumns = `repeat(${images.length}, 1fr)`;
      images.forEach((source, place) => {
        const image = element("img");
        image.src = source;
        image.alt = `${frames[place]} frame of ${key}`;
        stills.append(image);
      });
      const caption = element("figcaption");
      caption.append(element("b", label || "no label"), `${about} · `, element("span", key, "mono"));
      figure.append(stills, caption);
      sheet.append(figure);
    });
    return sheet;
  };
  Object.entries(report.sheets).forEach(([title, clips]) => byId("sheets").append(
    element("h3", title), clips.length ? sheetOf(clips, ["first", "middle", "last"]) : element("p", "None.", "lead")));

  // Encoding
  if (report.encoding) {
    const { sizes, reasons, notes, ssim, pairs } = report.encoding;
    const section = byId("encoding");
    section.hidden = false;
    document.querySelector('a[href="#encoding"]').hidden = false;
    const shrunk = (before, after) => (before ? `${Math.round((100 * after) / before)} %` : "");
    const numbers = element("div", "", "scroll");
    numbers.append(table(
      ["split", "unchanged", "remuxed", "encoded", "size before", "size after", ""],
      sizes.map(([split, unchanged, remuxed, encoded, before, after]) =>
        [split, format(unchanged), format(remuxed), format(encoded), size(before), size(after), shrunk(before, after)]),
      (place) => place > 0));
    section.append(element("p", "Sizes are of the clips that did not keep their bytes.", "lead"), numbers);
    const counted = (title, counts) => {
      const names = [...new Set(splits.flatMap((split) => counts[split].map(([name]) => name)))];
      const box = element("div", "", "scroll");
      const number = (split, name) => (counts[split].find(([one]) => one === name) || [name, 0])[1];
      box.append(table(["", ...splits], names.map((name) => [name.replaceAll("_", " "), ...splits.map((split) => format(number(split, name)))]),
        (place) => place > 0));
      section.append(element("h3", title), names.length ? box : element("p", "None.", "lead"));
    };
    counted("Why clips did not keep their bytes", reasons);
    counted("What was odd", notes);
    const bins = [...new Set(splits.flatMap((split) => ssim[split].map(([bin]) => bin)))].sort();
    section.append(element("h3", "How near they are: SSIM of one clip of sixteen"));
    if (bins.length) {
      const chart = element("div", "", "chart");
      chart.id = "ssim-chart";
      chart.setAttribute("role", "img");
      chart.setAttribute("aria-label", "Distribution of SSIM");
      section.append(chart);
      draw(chart.id, {
        grid, legend, xAxis: { type: "category", data: bins.map((bin) => bin.toFixed(2)) },
        yAxis: { type: "value", axisLabel: { formatter: short } },
        tooltip: { trigger: "axis", axisPointer: { type: "shadow" } },
        series: splits.map((split) => ({
          name: split, type: "bar", stack: "all", color: colors[split],
          data: bins.map((bin) => (ssim[split].find(([one]) => one === bin) || [bin, 0])[1]),
        })),
      });
    } else section.append(element("p", "None was compared.", "lead"));
    section.append(element("h3", "Pairs: the source, and what was written"),
      pairs.length ? sheetOf(pairs, ["source", "written"]) : element("p", "None.", "lead"));
  }

  // Supplements
  const still = ({ image, key, about, boxes }) => {
    const figure = element("figure");
    const frame = element("div", "", "boxed");
    const picture = element("img");
    picture.src = image;
    picture.alt = `keyframe of ${key} with ${boxes.length} boxes`;
    frame.append(picture);
    boxes.forEach(({ corners: [x1, y1, x2, y2], actions }) => {
      const box = element("div", "", "box");
      Object.assign(box.style, {
        left: `${100 * x1}%`, top: `${100 * y1}%`, width: `${100 * (x2 - x1)}%`, height: `${100 * (y2 - y1)}%`,
      });
      box.append(element("span", actions.join(", ")));
      box.title = actions.join(", ");
      frame.append(box);
    });
    const caption = element("figcaption");
    caption.append(`${about} · `, element("span", key, "mono"));
    figure.append(frame, caption);
    return figure;
  };
  const spelt = (name) => name.replace("num_", "").replace("unmatched", "in no clip").replace("written", "in a written clip");
  report.supplements.forEach(({ name, title, counts, bars, stills }) => {
    const section = byId("supplements");
    section.hidden = false;
    document.querySelector('a[href="#supplements"]').hidden = false;
    const kinds = Object.keys(Object.values(counts)[0] || {});
    const within = splits.filter((split) => counts[split]);
    const numbers = element("div", "", "scroll");
    numbers.append(table(["", ...within], kinds.map((kind) => [spelt(kind), ...within.map((split) => format(counts[split][kind]))]),
      (place) => place > 0));
    const chart = element("div", "", "chart");
    chart.id = `supplement-${name}`;
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-label", bars.title);
    section.append(element("h3", title), numbers, element("p", bars.title, "lead"), chart);
    const shownSplits = Object.keys(bars.splits);
    draw(chart.id, {
      grid, legend: { top: 0, data: shownSplits },
      xAxis: { type: "category", data: bars.names, axisLabel: { fontSize: 11, width: 90, overflow: "truncate", rotate: name === "ava" ? 45 : 0 } },
      yAxis: { type: "value", axisLabel: { formatter: short } },
      tooltip: { trigger: "axis", axisPointer: { type: "shadow" } },
      series: shownSplits.map((split) => ({ name: split, type: "bar", stack: "all", color: colors[split], data: bars.splits[split] })),
    });
    if (stills.length) {
      const sheet = element("div", "", "sheet");
      sheet.append(...stills.map(still));
      section.append(element("p", "Some keyframes, with their boxes", "lead"), sheet);
    }
  });

  // Provenance
  const flatten = (value, name = "") => (value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flatten(inner, name ? `${name}.${key}` : key))
    : [[name, Array.isArray(value) ? value.join(", ") || "all" : value === null ? "default" : `${value}`]]);
  [["Options", flatten(report.options)], ["Tools", flatten(report.tools)], ["sha256", Object.entries(report.digests)]]
    .forEach(([title, entries]) => {
      const box = element("div");
      box.append(element("h3", title), table(["", ""], entries.map(([name, value]) => [name, element("span", value, "mono")])));
      byId("provenance-tables").append(box);
    });

  let wasNarrow = narrow();
  window.addEventListener("resize", () => {
    charts.forEach((chart) => chart.resize());
    if (wasNarrow !== narrow()) { wasNarrow = narrow(); drawFlow(); }
  });
  document.documentElement.dataset.drawn = "yes";
})();
