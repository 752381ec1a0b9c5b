/** A start that can't be: a plain sentence that says what to do. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
