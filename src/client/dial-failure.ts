/** What went wrong below a TCP connection, in words that help. */
export function dialFailure(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  const texts: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there',
    ENOTFOUND: 'the name does not exist',
    EAI_AGAIN: 'the name cannot be looked up now',
    ENETUNREACH: 'there is no route to it',
    EHOSTUNREACH: 'there is no route to it',
    ETIMEDOUT: 'it does not answer',
    ECONNRESET: 'it broke the connection off',
  };
  return texts[code ?? ''] ?? error.message.slice(0, 200);
}
