/** Sends lines as one POST. Rejects with a sentence for anything but 2xx in time. */
export async function postLines(
  o: { readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly timeout: number },
  lines: readonly string[],
): Promise<void> {
  const response = await fetch(o.url, {
    method: 'POST',
    headers: { ...o.headers, 'content-type': 'application/x-ndjson' },
    body: lines.join(''),
    redirect: 'error',
    signal: AbortSignal.timeout(o.timeout),
  });
  // Unread, the body would hold the connection.
  await response.body?.cancel();
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
}
