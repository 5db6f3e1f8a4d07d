-- Which making of a queue this is: another one after it was deleted and made again.
ALTER TABLE queues ADD COLUMN made uuid;
-- Servers of before do not set it for the queues that they make.
ALTER TABLE queues ALTER COLUMN made SET DEFAULT gen_random_uuid();
