export async function mutants() {
  console.error('not yet');
  return 1;
}
