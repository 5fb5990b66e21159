/** A client identifier `NNN-NNN-NNN` as the number of its nine digits: what relays know clients by (protocol §11). */

export const maxClientNumber = 999_999_999;

/** undefined when the text is no identifier. */
export function clientNumber(clientId: string): number | undefined {
  if (!/^[0-9]{3}-[0-9]{3}-[0-9]{3}$/.test(clientId)) return undefined;
  return Number(clientId.replaceAll('-', ''));
}

/** undefined when no client has this number. */
export function clientIdOf(number: number): string | undefined {
  if (!Number.isInteger(number) || number < 0 || number > maxClientNumber) return undefined;
  const digits = String(number).padStart(9, '0');
  return `${digits.slice(0, 3)}-${digits.slice(3, 6)}-${digits.slice(6)}`;
}
