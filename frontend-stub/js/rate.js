// rate: messages received per second, and the last minute as a sparkline.
import { $, svg } from './dom.js';

const SECONDS = 60;
const AVERAGED = 3;
const [WIDTH, HEIGHT] = [120, 24];

export class Rate {
  constructor() {
    this.history = new Array(SECONDS).fill(0);
    this.current = 0;
    this.area = svg('path', { class: 'area' });
    this.line = svg('path', { class: 'line' });
    $('spark').append(this.area, this.line);
    this.draw();
    setInterval(() => this.tick(), 1000);
  }

  tick() {
    this.history.push(this.current);
    this.history.shift();
    this.current = 0;
    this.draw();
  }

  draw() {
    const top = Math.max(4, ...this.history);
    const step = WIDTH / (SECONDS - 1);
    const points = this.history.map((n, i) => `${(i * step).toFixed(1)} ${(HEIGHT - 1.5 - (n / top) * (HEIGHT - 4)).toFixed(1)}`);
    this.line.setAttribute('d', `M${points.join('L')}`);
    this.area.setAttribute('d', `M0 ${HEIGHT}L${points.join('L')}L${WIDTH} ${HEIGHT}Z`);
    const rate = this.history.slice(-AVERAGED).reduce((sum, n) => sum + n, 0) / AVERAGED;
    $('rate').textContent = rate >= 10 || rate === 0 ? Math.round(rate).toLocaleString('en-US') : rate.toFixed(1);
  }
}
