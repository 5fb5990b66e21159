import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dynamicPorts, PortPicker } from './ports.ts';

function all(picker: PortPicker): number[] {
  const ports: number[] = [];
  for (let port = picker.next(); port !== undefined; port = picker.next()) ports.push(port);
  return ports;
}

test('each port of a window comes once, and none from outside', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65_535 }),
      fc.integer({ min: 1, max: 600 }),
      fc.integer({ min: -300, max: 300 }).filter((step) => step !== 0),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999_999, noNaN: true })),
      (first, count, step, chances) => {
        const random = (below: number) => Math.floor(chances.next().value * below);
        const ports = all(new PortPicker({ first, count, step }, random));
        const expected = all(new PortPicker({ first, count, step }));
        assert.equal(new Set(ports).size, ports.length);
        assert.deepEqual(
          [...ports].sort((a, b) => a - b),
          [...expected].sort((a, b) => a - b),
        );
        assert(ports.every((port) => port >= 1 && port <= 65_535));
      },
    ),
  );
});

test('in order without a source of chance', () => {
  assert.deepEqual(all(new PortPicker({ first: 5, count: 4, step: -2 })), [5, 3, 1]);
});

test('of all dynamic ports, however unlucky, none comes twice', () => {
  for (const chance of [0, 0.5, 0.999_99]) {
    const picker = new PortPicker(dynamicPorts, (below) => Math.floor(chance * below));
    const ports = Array.from({ length: 1024 }, () => picker.next());
    assert.equal(new Set(ports).size, 1024);
    assert(!ports.includes(undefined));
  }
});
