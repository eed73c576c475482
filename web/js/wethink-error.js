/** An error with one of the codes of `wethink.d.ts`. */
export function failure(code, message) {
  return Object.assign(new Error(message), { code });
}
