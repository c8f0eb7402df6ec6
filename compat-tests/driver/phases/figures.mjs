export async function figures () {}
