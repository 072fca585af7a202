"""How well the words of a page stand out against what is behind them."""

from __future__ import annotations

from typing import Any

LEAST, LEAST_LARGE = 4.5, 3.0
"""Contrast that WCAG 2.2 asks for (1.4.3 and, of icons, 1.4.11); large is from 24 pixels, or 18.66 in bold."""

_PATIENCE, _EVERY_MS = 25, 200

_AUDIT = """([least, large]) => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, ground) => [0, 1, 2].map((i) => top[i] * top[3] + ground[i] * (1 - top[3]));
  const line = (element) => element ? [...line(element.parentElement), element] : [];
  const bright = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!text || element.closest("svg, option, [disabled], .disabled, .q-tabs__arrow--faded")) continue;
    if (!element.checkVisibility({ opacityProperty: true })) continue;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (box.width < 2 || box.height < 2 || style.clip !== "auto") continue;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    let ground = dark ? [18, 18, 18] : [255, 255, 255], share = 1;
    for (const one of line(element)) {
      ground = over(rgba(getComputedStyle(one).backgroundColor), ground);
      share *= Number(getComputedStyle(one).opacity);
    }
    const ink = rgba(style.color), seen = over([...ink.slice(0, 3), ink[3] * share], ground);
    const [low, high] = [bright(seen), bright(ground)].sort((a, b) => a - b), ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize), big = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
      || element.matches(".q-icon");
    if (ratio < (big ? large : least)) found.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return [...new Set(found)];
}"""


def illegible(page: Any) -> list[str]:
    """Return the words of a page whose contrast is too small, each after its contrast; pictures are not looked at.

    What still fades in, or from light to dark, is waited for.
    """
    found: list[str] = []
    for _ in range(_PATIENCE):
        found = list(page.evaluate(_AUDIT, [LEAST, LEAST_LARGE]))
        if not found:
            break
        page.wait_for_timeout(_EVERY_MS)
    return found
