// Contrast of everything that is seen; see contrast.py.
() => {
  const WHITE = [1, 1, 1, 1];
  const COLOUR = /rgba?\([^)]*\)|color\([^)]*\)/g;

  // "rgb(1 2 3 / 50%)", "rgba(1, 2, 3, 0.5)", "color(srgb 0.1 0.2 0.3 / 0.5)": red, green, blue, alpha, each 0 to 1.
  const parse = (text) => {
    const numbers = text.replace(/^\w+\((srgb )?/, "").match(/[\d.e-]+%?/g).map((one) => (one.endsWith("%") ? parseFloat(one) / 100 : Number(one)));
    const scale = text.startsWith("rgb") ? 255 : 1;
    return [...numbers.slice(0, 3).map((one) => one / scale), numbers[3] ?? 1];
  };
  const colour = (text) => {
    const probe = document.createElement("i");
    probe.style.color = text;
    document.body.append(probe);
    const found = parse(getComputedStyle(probe).color);
    probe.remove();
    return found;
  };
  const mix = (top, under, share) => [0, 1, 2].map((n) => top[n] * share + under[n] * (1 - share)).concat(1);
  const over = (top, under) => mix(top, under, top[3]);
  const luminance = (ink) => {
    const [r, g, b] = ink.map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const grey = (ink) => Array(3).fill(0.2126 * ink[0] + 0.7152 * ink[1] + 0.0722 * ink[2]).concat(1);

  const ancestors = (node) => (node.parentElement ? [...ancestors(node.parentElement), node] : [node]);
  // Every colour that may lie right behind what an element holds.
  const grounds = (style, backdrop) => {
    const plain = over(parse(style.backgroundColor), backdrop);
    const drawn = (style.backgroundImage.match(COLOUR) ?? []).map((one) => over(parse(one), plain));
    const whole = style.backgroundImage.includes("gradient") && drawn.length;
    return whole ? drawn : [plain];
  };
  // Pairs of ink and ground as they reach the eye; `ink(style)` is the ink in the innermost element.
  const seen = (chain, ink, backdrop) => {
    const style = getComputedStyle(chain[0]);
    let pairs = grounds(style, backdrop).flatMap((ground) =>
      chain.length > 1 ? seen(chain.slice(1), ink, ground) : [[over(ink, ground), ground]],
    );
    if (style.filter.includes("grayscale(1)")) pairs = pairs.map((pair) => pair.map(grey));
    const share = Number(style.opacity);
    return pairs.map((pair) => pair.map((one) => mix(one, backdrop, share)));
  };
  const base = getComputedStyle(document.documentElement).colorScheme.includes("dark") ? [0.07, 0.07, 0.07, 1] : WHITE;
  const least = (node, ink) => Math.min(...seen(ancestors(node), ink, base).map(([one, other]) => ratio(one, other)));

  const visible = (node) => {
    const box = node.getBoundingClientRect();
    return node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && box.width > 1 && box.height > 1 && box.right > 0 && box.bottom + scrollY > 0;
  };
  const needed = (style) => {
    const px = parseFloat(style.fontSize);
    return px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  };
  const [found, faint] = [[], []];
  const look = (what, node, ink, wanted) => {
    const reached = least(node, ink);
    found.push(what);
    if (reached < wanted) faint.push(`${what} in <${node.tagName.toLowerCase()} class="${node.className}">: ${reached.toFixed(2)}, not ${wanted}`);
  };

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, node] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
    if (!text || node.closest("script, style, option, :disabled") || !visible(node)) continue;
    const style = getComputedStyle(node);
    look(`"${text.slice(0, 40)}"`, node, parse(style.color), needed(style));
  }
  for (const node of document.querySelectorAll("button, input, select")) {
    if (!visible(node) || node.disabled) continue;
    const style = getComputedStyle(node);
    if (node.placeholder && !node.value) look(`"${node.placeholder}"`, node, parse(getComputedStyle(node, "::placeholder").color), needed(style));
    else if (node.tagName !== "BUTTON") look("what is written", node, parse(style.color), needed(style));
    if (parseFloat(style.borderTopWidth)) look("the edge", node.parentElement, parse(style.borderTopColor), 3);
  }
  const token = (name) => colour(getComputedStyle(document.documentElement).getPropertyValue(name));
  for (const node of document.querySelectorAll("canvas.strip")) {
    if (!visible(node)) continue;
    look("the curve", node, parse(getComputedStyle(node).color), 3);
    look("R peaks", node, token("--mark"), 3);
  }
  for (const node of document.querySelectorAll(".chart")) {
    if (!visible(node)) continue;
    look("the axes", node, token("--ink-soft"), 4.5);
    for (const name of ["--trace-1", "--trace-2", "--trace-3"]) look(name, node, token(name), 3);
  }
  return { found, faint };
}
