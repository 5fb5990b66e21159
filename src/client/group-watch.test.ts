import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIgmp, parseIgmp6 } from './group-watch.ts';

// Columns as Linux 6.18 prints them on a little-endian machine.
const igmp = `Idx	Device    : Count Querier	Group    Users Timer	Reporter
1	lo        :     1      V3
				010000E0     1 0:00000000		0
2	buri0     :     3      V3
				FAFFFFEF     1 0:00000000		0
				030201EF     2 1:00000A3F		1
				010000E0     1 0:00000000		0
12	buri00    :     1      V3
				040201EF     1 0:00000000		0
13	buri-games-home:     1      V3
				050201EF     1 0:00000000		0
`;
const igmp6 = `1    lo              ff020000000000000000000000000001     1 0000000C 0
2    buri0           ff15000000000000000000000000cafe     1 00000004 0
2    buri0           ff0200000000000000000001ff400005     1 00000004 0
12   buri00          ff15000000000000000000000000beef     1 00000004 0
`;

test('groups are those of this interface alone', () => {
  assert.deepEqual(parseIgmp(igmp, 'buri0'), ['239.255.255.250', '239.1.2.3', '224.0.0.1']);
  assert.deepEqual(parseIgmp(igmp, 'buri00'), ['239.1.2.4']);
  assert.deepEqual(parseIgmp(igmp, 'buri-games-home'), ['239.1.2.5']);
  assert.deepEqual(parseIgmp(igmp, 'buri'), []);
  assert.deepEqual(parseIgmp6(igmp6, 'buri0'), ['ff15::cafe', 'ff02::1:ff40:5']);
  assert.deepEqual(parseIgmp6(igmp6, 'lo'), ['ff02::1']);
});

test('what is no such list has no groups', () => {
  for (const text of ['', 'x', '2 buri0', '2\tburi0 :\n\t\t\tzz', '2 buri0 ff', '\n\n\t\t']) {
    assert.deepEqual([...parseIgmp(text, 'buri0'), ...parseIgmp6(text, 'buri0')], []);
  }
});
