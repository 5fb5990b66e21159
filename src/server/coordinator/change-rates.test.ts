import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import { ChangeRates } from './change-rates.ts';
import { changes, changesPerPrefix, maxChangeDelayMs } from './limits.ts';

const at = monotonicMs(1_000_000);
const by = (identity: string, prefix: string) => ({ identity, prefix });

test('changes are free, then late, then refused; time gives them back', () => {
  const rates = new ChangeRates();
  const anna = by('anna', '192.0.2.1');
  for (let i = 0; i < changes.burst; i++) assert.equal(rates.change(anna, at), 0);
  const late = maxChangeDelayMs / changes.intervalMs;
  for (let i = 1; i <= late; i++) assert.equal(rates.change(anna, at), i * changes.intervalMs);
  assert.ok(rates.change(anna, at) > maxChangeDelayMs);
  assert.ok(rates.change(by('anna', '192.0.2.7'), at) > maxChangeDelayMs, 'wherever it is');
  assert.equal(rates.change(by('bert', '192.0.2.1'), at), 0);
  assert.equal(rates.resync(anna, at), 0, 'a view is another matter');
  const later = monotonicMs(at + maxChangeDelayMs + changes.intervalMs);
  assert.equal(rates.change(anna, later), 0);
});

test('many identities behind one address are limited together', () => {
  const rates = new ChangeRates();
  let granted = 0;
  for (let i = 0; i < 3 * changesPerPrefix.burst; i++)
    if (rates.change(by(`member ${i}`, '192.0.2.1'), at) <= maxChangeDelayMs) granted++;
  const most = changesPerPrefix.burst + maxChangeDelayMs / changesPerPrefix.intervalMs;
  assert.equal(granted, most);
  assert.equal(rates.change(by('somebody', '198.51.100.1'), at), 0);
});
