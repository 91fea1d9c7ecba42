# Whether a review at Gitea is an approval. The input is the commit that Atlantis was asked for, and the reviews.
#
# Atlantis takes any review in the state APPROVED for one (v0.47.1, server/events/vcs/gitea/client.go): a reader's, one
# that was dismissed, or one of an older commit.
package approval

deny contains "nobody who may merge has approved this commit" if not is_approved

is_approved if {
	some review in input.reviews
	review.state == "APPROVED"
	review.official == true
	review.dismissed == false
	review.stale == false
	review.commit_id == input.commit
}
