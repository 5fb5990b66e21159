/** Figures and tables as text, in Markdown. */

/** The value that this share of the values does not exceed (nearest rank); undefined of none. */
export function quantile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

/** Rounded down: what failed once is not 100 %. */
export const percent = (share: number): string => `${Math.floor(share * 1000 + 1e-9) / 10} %`;

export function seconds(ms: number | undefined): string {
  if (ms === undefined) return '–';
  return Number.isFinite(ms) ? `${(ms / 1000).toFixed(2)} s` : 'never';
}

/** Median and 95th percentile. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return '–';
  return `${seconds(quantile(values, 0.5))} / ${seconds(quantile(values, 0.95))}`;
}

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}
