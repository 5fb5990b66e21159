/** For tests that make namespaces and devices: skipped, with the reason, where that is not possible. */
export const needsRoot: { readonly skip: string | false } = {
  skip: process.platform === 'linux' && process.getuid?.() === 0 ? false : 'needs root on Linux',
};
