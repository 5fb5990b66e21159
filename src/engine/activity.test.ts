import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Activity, RECEIVED_DATA, SENT_DATA, SENT_KEEPALIVE } from './activity.ts';

function recorded() {
  const reports: [number, number][] = [];
  const sink = { open: true };
  const activity = new Activity((slot, flags) => {
    if (sink.open) reports.push([slot, flags]);
    return sink.open;
  });
  return { activity, reports, sink };
}

describe('activity', () => {
  test('is reported at once after silence', () => {
    const { activity, reports } = recorded();
    activity.mark(3, SENT_DATA);
    activity.mark(3, RECEIVED_DATA);
    assert.equal(activity.settle(1_000), false);
    assert.deepEqual(reports, [[3, SENT_DATA | RECEIVED_DATA]]);
  });

  test('is reported at most every 50 ms while it lasts', () => {
    const { activity, reports } = recorded();
    activity.mark(1, SENT_DATA);
    activity.settle(1_000);
    activity.mark(1, SENT_DATA);
    assert.equal(activity.settle(1_010), true, 'waits for the timer');
    activity.mark(1, SENT_KEEPALIVE);
    activity.settle(1_020);
    assert.equal(reports.length, 1);
    assert.equal(activity.flush(1_050), false);
    assert.deepEqual(reports[1], [1, SENT_DATA | SENT_KEEPALIVE]);
    activity.flush(1_100);
    assert.equal(reports.length, 2, 'nothing is reported twice');
  });

  test('waits on when the main thread is behind, and loses nothing', () => {
    const { activity, reports, sink } = recorded();
    sink.open = false;
    activity.mark(1, SENT_DATA);
    assert.equal(activity.settle(1_000), true);
    assert.equal(activity.flush(1_050), true);
    sink.open = true;
    activity.mark(1, RECEIVED_DATA);
    assert.equal(activity.flush(1_100), false);
    assert.deepEqual(reports, [[1, SENT_DATA | RECEIVED_DATA]]);
  });

  test('of keys that are gone is not reported', () => {
    const { activity, reports } = recorded();
    activity.mark(1, SENT_DATA);
    activity.forget(1);
    activity.settle(1_000);
    assert.deepEqual(reports, []);
  });

  test('is kept for thousands of keys', () => {
    const { activity, reports } = recorded();
    for (let slot = 0; slot < 5_000; slot++) activity.mark(slot, SENT_DATA);
    activity.settle(1_000);
    assert.equal(reports.length, 5_000);
  });
});
