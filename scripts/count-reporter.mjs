// A test reporter that prints nothing but the totals of leaf tests, as one line of JSON.
// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter by its default export
export default async function* count(source) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    if (data?.details?.type === 'suite') continue;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // What is to be done yet counts for nothing, whether it passes or fails.
    if (data.skip !== undefined || data.todo !== undefined) total.skipped++;
    else if (type === 'test:pass') total.passed++;
    else total.failed++;
  }
  yield JSON.stringify(total);
}
