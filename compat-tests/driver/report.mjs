export async function writeReport () {}
