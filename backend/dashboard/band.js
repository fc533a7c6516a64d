// A chart series that fills the space between two prices at each time.

class BandRenderer {
  update(data, options) {
    this.data = data;
    this.options = options;
  }

  draw(target, toY) {
    target.useBitmapCoordinateSpace((scope) => this.paint(scope, toY));
  }

  paint({ context, horizontalPixelRatio: h, verticalPixelRatio: v }, toY) {
    const { bars, visibleRange } = this.data ?? {};
    if (!bars?.length || !visibleRange) return;
    const last = Math.min(bars.length, visibleRange.to + 1);
    const seen = bars.slice(Math.max(0, visibleRange.from - 1), last)
      .map((bar) => ({ x: bar.x * h, top: toY(bar.originalData.high) * v, bottom: toY(bar.originalData.low) * v }));
    if (!seen.length) return;
    context.beginPath();
    for (const point of seen) context.lineTo(point.x, point.top);
    for (const point of seen.reverse()) context.lineTo(point.x, point.bottom);
    context.closePath();
    context.fillStyle = this.options.fill;
    context.fill();
  }
}

export class Band {
  constructor() {
    this.drawing = new BandRenderer();
  }

  renderer() {
    return this.drawing;
  }

  update(data, options) {
    this.drawing.update(data, options);
  }

  priceValueBuilder(row) {
    return [row.low, row.high, row.middle];
  }

  isWhitespace(row) {
    return row.low === undefined;
  }

  defaultOptions() {
    return { fill: "rgba(76, 194, 255, 0.16)", priceLineVisible: false, lastValueVisible: false, color: "transparent" };
  }
}
