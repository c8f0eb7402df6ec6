export async function groups () {}
