/** What the demo shows while it runs: a moving line for what is under way on a terminal, plain lines elsewhere. */

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const frameMs = 100;

type Colour = 'green' | 'red' | 'grey' | 'bold' | 'yellow';

const codes: Readonly<Record<Colour, readonly [on: number, off: number]>> = {
  green: [32, 39],
  red: [31, 39],
  yellow: [33, 39],
  grey: [90, 39],
  bold: [1, 22],
};

/** One thing that the demo claims, and how it came out. */
export interface Claim {
  readonly title: string;
  readonly held: boolean;
  /** Measured figures, or what went wrong. */
  readonly detail: string;
}

/** What a step is told to call when something that a person wants to see has changed. */
export type Progress = (text: string) => void;

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #coloured: boolean;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.#live = out.isTTY && process.env.TERM !== 'dumb';
    this.#coloured = this.#live && !process.env.NO_COLOR;
  }

  /** Text as it is, with a newline. */
  say(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  heading(text: string): void {
    this.say(`\n${this.paint('bold', text)}`);
  }

  /** Runs a step with a moving line until it has ended, then a line that stays. Its result, or its error, is the caller's. */
  async step<T>(
    title: string,
    work: (progress: Progress) => Promise<T>,
    detailOf: (result: T) => string = () => '',
  ): Promise<T> {
    const started = performance.now();
    const line = this.#moving(title, started);
    try {
      const result = await work(line.progress);
      line.stop();
      this.#result(true, title, detailOf(result), started);
      return result;
    } catch (error) {
      line.stop();
      this.#result(false, title, error instanceof Error ? error.message : String(error), started);
      throw error;
    }
  }

  summary(claims: readonly Claim[]): void {
    this.heading('Summary');
    const width = Math.max(...claims.map(({ title }) => title.length));
    for (const { title, held, detail } of claims) {
      const mark = held ? this.paint('green', '✔') : this.paint('red', '✖');
      this.say(`  ${mark} ${title.padEnd(width)}  ${detail.split('\n')[0] ?? ''}`.trimEnd());
    }
  }

  paint(colour: Colour, text: string): string {
    const [on, off] = codes[colour];
    return this.#coloured ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }

  #moving(title: string, started: number): { progress: Progress; stop: () => void } {
    let said = '';
    if (!this.#live) {
      this.say(`  … ${title}`);
      const progress = (text: string) => {
        if (text !== said && text !== '') this.say(`      ${text}`);
        said = text;
      };
      return { progress, stop: () => {} };
    }
    const draw = () => {
      const elapsedMs = performance.now() - started;
      const frame = frames[Math.floor(elapsedMs / frameMs) % frames.length]!;
      const text = `  ${frame} ${title}  ${said === '' ? '' : `${said}  `}${seconds(elapsedMs)}`;
      this.#out.write(`\r\u001b[K${text.slice(0, (this.#out.columns ?? 80) - 1)}`);
    };
    draw();
    const timer = setInterval(draw, frameMs);
    const stop = () => {
      clearInterval(timer);
      this.#out.write('\r\u001b[K');
    };
    return {
      progress: (text) => {
        said = text;
      },
      stop,
    };
  }

  #result(held: boolean, title: string, detail: string, started: number): void {
    const mark = held ? this.paint('green', '✔') : this.paint('red', '✖');
    const time = this.paint('grey', seconds(performance.now() - started));
    const lines = detail === '' ? [] : detail.split('\n');
    const first = lines.length === 1 ? `: ${lines[0]}` : '';
    this.say(`  ${mark} ${title}${first}  ${time}`);
    if (lines.length > 1) for (const line of lines) this.say(`      ${line}`);
  }
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
